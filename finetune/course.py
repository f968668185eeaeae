"""The course of a training: steps, epochs, a judgement after each, in an order that a later start repeats.

The order of the videos is drawn from the seed and the epoch, dropout from the seed and the step: the state between two
steps holds no generator, and a training that goes on from it ends as one that never stopped, on a CPU bit for bit.
"""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from finetune.batches import Batch, Split
from finetune.losses import Objective
from finetune.parser import Parser
from finetune.recipe import Recipe, Training
from finetune.saved import Saved, State, flat, part
from finetune.scoring.protocol import Judgement, judge
from launch.preemption import Stopped
from launch.progress import say, track
from launch.refusal import Refusal
from launch.tracking import Record
from pretrain.model import Transformer


class Diverged(Refusal):
    """The loss is no finite number any more."""


@dataclass(frozen=True)
class Best:
    """The best epoch so far, by segment Type@AV on validation, with its weights."""

    epoch: int
    judgement: Judgement
    weights: dict[str, Tensor]

    @property
    def type_at_av(self) -> float:
        """Segment Type@AV on validation in percent: what decides."""
        return self.judgement.scores["segment"]["type_at_av"]


def better(best: Best | None, epoch: int, judgement: Judgement, parser: nn.Module) -> Best:
    """The better of the best so far and this epoch; the earlier one of equals."""
    if best is not None and judgement.scores["segment"]["type_at_av"] <= best.type_at_av:
        return best
    return Best(epoch, judgement, copy.deepcopy(parser.state_dict()))


@dataclass
class Trainer:
    """What changes during training: parser, discriminator, optimizer, the best epoch, and how far we are."""

    recipe: Recipe
    parser: Parser
    objective: Objective
    optimizer: torch.optim.Optimizer
    per_epoch: int
    """Steps of an epoch."""
    step: int = 0
    """Steps that are done."""
    best: Best | None = None
    totals: dict[str, Tensor] = field(default_factory=dict)
    """The sum of each part of the loss over the steps of this epoch."""

    @classmethod
    def new(cls, recipe: Recipe, train: Split, device: torch.device, encoder: Transformer | None = None) -> "Trainer":
        """The state before the first step, a function of the settings, the seed and the encoder under the parser."""
        torch.manual_seed(recipe.seed)
        widths = {name: tensor.shape[2] for name, tensor in train.features.items()}
        parser = Parser(recipe.parser, widths, encoder).to(device)
        objective = Objective(recipe.loss, recipe.parser.width, recipe.parser.adversarial).to(device)
        optimizer = torch.optim.Adam(_groups(parser, objective, recipe.training), fused=True)
        return cls(recipe, parser, objective, optimizer, train.steps(recipe.training.batch))

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.recipe.training.epochs * self.per_epoch

    @property
    def epoch(self) -> int:
        """The epoch of the next step, counted from 1."""
        return self.step // self.per_epoch + 1

    def descend(self, batch: Batch) -> dict[str, Tensor]:
        """One step on one batch; the loss and its parts before it."""
        torch.manual_seed(dropout_seed(self.recipe.seed, self.step))
        lower = self.recipe.training.precision == "bfloat16"
        with torch.autocast(batch.labels.device.type, torch.bfloat16, enabled=lower):
            parsed = self.parser(batch.features, batch.present)
        parts = self.objective(parsed, batch.labels, self.step / self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        self.optimizer.step()
        self.step += 1
        parts = {name: value.detach() for name, value in parts.items()}
        self.totals = {name: self.totals.get(name, 0.0) + value for name, value in parts.items()}
        return parts

    def state(self) -> State:
        """All that the next step depends on, and the best epoch."""
        moments = self.optimizer.state_dict()["state"]
        adam = {f"{place}.{name}": value for place, each in moments.items() for name, value in each.items()}
        best = self.best and {"epoch": self.best.epoch, "judgement": asdict(self.best.judgement)}
        tensors = flat(
            parser=self.parser.state_dict(),
            objective=self.objective.state_dict(),
            adam=adam,
            totals=self.totals,
            best=self.best.weights if self.best else {},
        )
        return State(tensors, {"step": self.step, "best": best})

    def take(self, state: State) -> None:
        """Goes to a state that `state` gave, in this process or another."""
        device = next(self.parser.parameters()).device
        self.parser.load_state_dict(part(state.tensors, "parser"))
        self.objective.load_state_dict(part(state.tensors, "objective"))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in part(state.tensors, "adam").items():
            place, name = key.split(".")
            moments.setdefault(int(place), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.totals = {name: value.to(device) for name, value in part(state.tensors, "totals").items()}
        self.step = state.numbers["step"]
        if best := state.numbers["best"]:
            self.best = Best(best["epoch"], Judgement(**best["judgement"]), part(state.tensors, "best"))


def _groups(parser: Parser, objective: Objective, training: Training) -> list[dict[str, Any]]:
    """What Adam moves, the encoder apart: each group with its rate at the start."""
    under = [] if parser.encoder is None else list(parser.encoder.parameters())
    own = [each for each in parser.parameters() if not any(each is one for one in under)]
    groups = [([*own, *objective.parameters()], training.learning_rate), (under, training.encoder_learning_rate)]
    return [{"params": moved, "lr": rate, "at_start": rate} for moved, rate in groups if moved]


def dropout_seed(seed: int, step: int) -> int:
    """The seed of a step's dropout, and of whatever else it draws."""
    return int.from_bytes(hashlib.sha256(f"finetune/{seed}/{step}".encode()).digest()[:8], "big") >> 1


def fit(
    trainer: Trainer, train: Split, validation: Split, record: Record, saved: Saved, asked_to_stop: Callable[[], bool]
) -> Best:
    """The best epoch of the whole training, from where the trainer is; says one line an epoch.

    Raises Stopped after a step, with the state saved, when it is asked to.
    """

    def save() -> None:
        state = trainer.state()
        saved.write(State(state.tensors, {**state.numbers, "run": record.run_id}))

    def leave_if_asked() -> None:
        if asked_to_stop() and trainer.step < trainer.steps:
            save()
            raise Stopped(
                f"after step {trainer.step:,} of {trainer.steps:,} (epoch {trainer.epoch}), as it was asked to: "
                "the same command goes on from there."
            )

    while trainer.step < trainer.steps:
        epoch, start = trainer.epoch, time.monotonic()
        try:
            means = run_epoch(trainer, train, record, leave_if_asked)
        except Diverged:
            saved.forget()  # it leads there again, and other settings could not go on from it
            raise
        look(trainer, validation, epoch, means, time.monotonic() - start, record)
        if epoch % trainer.recipe.training.keep_every == 0 or trainer.step == trainer.steps:
            save()
        leave_if_asked()
    assert trainer.best is not None
    return trainer.best


def run_epoch(
    trainer: Trainer, train: Split, record: Record, between_steps: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """The mean of each part of the loss over the steps of the trainer's epoch, of which it takes those that are left.

    Raises Diverged at the first recorded step whose loss is not a finite number.
    """
    recipe, epoch, done = trainer.recipe.training, trainer.epoch, trainer.step % trainer.per_epoch
    for group in trainer.optimizer.param_groups:
        group["lr"] = recipe.decayed(group["at_start"], epoch)
    trainer.parser.train()
    batches = train.shuffled(recipe.batch, trainer.recipe.seed, epoch, done)
    for batch in track(batches, f"epoch {epoch}/{recipe.epochs}", trainer.per_epoch - done, "batch"):
        parts = trainer.descend(batch)
        if trainer.step % recipe.record_every == 0:
            record.metrics(trainer.step, {f"step/{name}": value.item() for name, value in parts.items()})
            _check_finite(parts["loss"].item(), trainer, epoch)
        if trainer.step % trainer.per_epoch:
            between_steps()
    means = {name: total.item() / trainer.per_epoch for name, total in trainer.totals.items()}
    trainer.totals = {}
    _check_finite(means["loss"], trainer, epoch)
    rate = {"learning_rate": recipe.decayed(recipe.learning_rate, epoch)}
    record.metrics(epoch, {f"epoch/{name}": value for name, value in (means | rate).items()})
    return means


def look(
    trainer: Trainer, validation: Split, epoch: int, means: Mapping[str, float], seconds: float, record: Record
) -> None:
    """Judges the parser on validation after an epoch that took so many seconds, and keeps it if it is the best."""
    judgement = judge(trainer.parser, validation, trainer.recipe.protocol.fixed)
    trainer.best = better(trainer.best, epoch, judgement, trainer.parser)
    record.metrics(epoch, judgement.flat("validation") | {"epoch/seconds": seconds})
    say(
        f"epoch {epoch}/{trainer.recipe.training.epochs}: loss {means['loss']:.4f}, validation segment Type@AV "
        f"{judgement.scores['segment']['type_at_av']:.2f} (best {trainer.best.type_at_av:.2f}, "
        f"epoch {trainer.best.epoch}), {seconds:.1f} s"
    )


def _check_finite(loss: float, trainer: Trainer, epoch: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(
            f"The loss must stay a finite number, but is {loss} by step {trainer.step} (epoch {epoch}): lower "
            f"training.learning_rate (now {trainer.recipe.training.learning_rate}), or look for extreme features."
        )
