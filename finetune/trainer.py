"""A trainer: a parser in training with all that changes with it, one step at a time, and its state between two steps.

Dropout, and whatever else a step draws, is seeded by the seed and the step: the state holds no generator.
"""

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from finetune.batches import Batch, Split
from finetune.cleaning.cleaner import Cleaner
from finetune.cleaning.exchange import Making
from finetune.cleaning.targets import OfSeconds
from finetune.encoder import groups
from finetune.losses import Objective
from finetune.parser import Parser
from finetune.recipe import Recipe
from finetune.saved import State, flat, part
from finetune.scoring.protocol import Judgement
from pretrain.model import Transformer


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
    """What changes during training: parser, discriminator, optimizer, labels, the best epoch, and how far we are."""

    recipe: Recipe
    parser: Parser
    objective: Objective
    optimizer: torch.optim.Optimizer
    cleaner: Cleaner
    make: Callable[[], Parser]
    """Gives another parser as this one was before the first step, but for its random weights."""
    per_epoch: int
    """Steps of an epoch."""
    step: int = 0
    """Steps that are done."""
    best: Best | None = None
    totals: dict[str, Tensor] = field(default_factory=dict)
    """The sum of each part of the loss over the steps of this epoch."""

    @classmethod
    def new(
        cls,
        recipe: Recipe,
        train: Split,
        device: torch.device,
        encoder: Transformer | None = None,
        pseudo: OfSeconds | None = None,
    ) -> "Trainer":
        """The state before the first step, a function of the settings, the seed and the encoder under the parser.

        `pseudo`: the pseudo-labels of the videos of `train` where `cleaning.pseudo` brings some.
        """
        torch.manual_seed(recipe.seed)
        widths = {name: tensor.shape[2] for name, tensor in train.features.items()}
        make = partial(_make, recipe, widths, device, encoder)
        parser = make()
        objective = Objective(recipe.loss, recipe.parser.width, recipe.parser.adversarial).to(device)
        rates = recipe.training.learning_rate, recipe.training.encoder_learning_rate
        optimizer = torch.optim.Adam(groups(parser, *rates, objective.parameters()), fused=True)
        cleaner = Cleaner(recipe.cleaning, train, parser, pseudo)
        return cls(recipe, parser, objective, optimizer, cleaner, make, train.steps(recipe.training.batch))

    def prepare(self, between_steps: Callable[[], None] = lambda: None) -> None:
        """Lets the cleaner estimate the labels of the modalities, where it is to; nothing comes of it but them."""
        making = Making(self.make, self.recipe.training.encoder_learning_rate, self.lower, between_steps)
        self.cleaner.prepare(making, self.recipe.seed)

    @property
    def lower(self) -> bool:
        """Whether products are in bfloat16."""
        return self.recipe.training.precision == "bfloat16"

    @property
    def kept(self) -> Parser:
        """The parser that is judged and kept: the one in training, or the average of its weights."""
        return self.cleaner.average.parser if self.cleaner.average else self.parser

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
        with torch.autocast(batch.labels.device.type, torch.bfloat16, enabled=self.lower):
            batch, targets = self.cleaner.targets(batch, self.epoch)
            parsed = self.parser(batch.features, batch.present)
        targets = self.cleaner.denoised(targets, parsed, batch)
        parts = self.objective(parsed, targets, self.step / self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        self.optimizer.step()
        self.cleaner.follow(self.parser)
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
            cleaner=self.cleaner.state(),
            totals=self.totals,
            best=self.best.weights if self.best else {},
        )
        return State(tensors, {"step": self.step, "best": best})

    def take(self, state: State) -> None:
        """Goes to a state that `state` gave, in this process or another."""
        device = next(self.parser.parameters()).device
        self.parser.load_state_dict(part(state.tensors, "parser"))
        self.objective.load_state_dict(part(state.tensors, "objective"))
        self.cleaner.take(part(state.tensors, "cleaner"))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in part(state.tensors, "adam").items():
            place, name = key.split(".")
            moments.setdefault(int(place), {})[name] = value
        moved = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": moved})
        self.totals = {name: value.to(device) for name, value in part(state.tensors, "totals").items()}
        self.step = state.numbers["step"]
        if best := state.numbers["best"]:
            self.best = Best(best["epoch"], Judgement(**best["judgement"]), part(state.tensors, "best"))


def _make(recipe: Recipe, widths: Mapping[str, int], device: torch.device, encoder: Transformer | None) -> Parser:
    return Parser(recipe.parser, widths, copy.deepcopy(encoder)).to(device)


def dropout_seed(seed: int, step: int) -> int:
    """The seed of a step's dropout, and of whatever else it draws."""
    return int.from_bytes(hashlib.sha256(f"finetune/{seed}/{step}".encode()).digest()[:8], "big") >> 1
