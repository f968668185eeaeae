"""python -m launch finetune finetune/configs/han.toml --shards DIR --tables DIR --out DIR

Trains a parser on the weak labels of the training split and keeps the epoch whose parse of the validation split has
the best segment Type@AV. Writes `parser.safetensors`, `settings.json` and `scores.json` (validation) into `--out`.
"""

import copy
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from finetune.batches import Batch, Missing, Split, load_splits, traits
from finetune.losses import LossSettings, Objective
from finetune.parser import Parser, ParserSettings
from finetune.scoring.protocol import Judgement, Protocol, describe, judge, table, table_digests, write_scores
from launch import tracking
from launch.atomic import whole_folder
from launch.progress import say, track
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Record, Tracking
from launch.world import World
from shards.labels import Tables
from shards.location import Location
from shards.read import ReadSettings


class Training(Settings):
    """The recipe; the defaults are the paper's. Adam without weight decay."""

    epochs: int = Field(40, ge=1, description="passes over the training videos")
    batch: int = Field(64, ge=1, description="videos a step")
    learning_rate: float = Field(3e-4, gt=0, description="Adam's step size at the start")
    decay: float = Field(0.5, gt=0, le=1, description="factor on the learning rate every decay_every epochs")
    decay_every: int = Field(5, ge=1, description="epochs between two decays of the learning rate")
    record_every: int = Field(10, ge=1, description="steps between two recorded points of the loss curves")


class Config(Settings):
    """Trains a parser: features and weak labels of the training split in, the best parser on validation out."""

    shards: Location = Field(
        description="folder or URL of shard sets 'train' and 'validation', written by pack or export"
    )
    tables: Path = Field(description="folder of LLP's six annotation tables")
    out: Path = Field(description="new folder for the parser, its settings and its validation scores")
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    missing: Missing = Field("refuse", description="videos of the tables that the shards lack: refuse, or skip")
    seed: int = Field(0, ge=0, description="of initial weights, dropout and order; same seed, same parser")
    parser: ParserSettings = ParserSettings()
    loss: LossSettings = LossSettings()
    training: Training = Training()
    protocol: Protocol = Protocol()
    reading: ReadSettings = ReadSettings()
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Runs the stage; raises Refusal for inputs that do not fit and for a loss that is not a number."""
    with closing(World.from_environment(config.seed)) as world:
        if world.size > 1:
            raise Refusal(
                f"finetune runs in one process (LLP fits in its memory), but {world.size} were started: start one."
            )
        with (
            tracking.run(config.tracking, "finetune", config) as record,
            whole_folder(config.out, config.replace) as folder,
        ):
            train, validation = _read(config, world.device)
            record.tags({f"manifest.{split.name}": split.shards.manifest.digest for split in (train, validation)})
            record.skipped(0, train.faults + validation.faults)
            trainer = Trainer.new(config, train, world.device)
            best = fit(trainer, train, validation, record)
            trainer.parser.load_state_dict(best.weights)
            origin = trained_on(config, train, validation, best.epoch)
            trainer.parser.save(folder, origin)
            protocol = describe(config.protocol, validation, origin["videos"], origin["tables"])
            write_scores(folder, best.judgement, protocol)
            for path in sorted(folder.iterdir()):
                record.artifact(path)
    say(f"Best on validation after epoch {best.epoch}, {len(validation):,} videos:\n{table(best.judgement.scores)}")
    say(f"Wrote parser.safetensors, settings.json and scores.json into '{config.out}'.")


def _read(config: Config, device: torch.device) -> tuple[Split, Split]:
    tables = Tables.load(config.tables)
    say(f"Read the tables in '{config.tables}'.")
    names = ("train", "validation")
    train, validation = load_splits(
        config.shards, tables, names, config.parser.features, config.missing, device, config.reading
    )
    return train, validation


@dataclass
class Trainer:
    """What changes during training: parser, discriminator, optimizer, schedule, and how far we are."""

    config: Config
    parser: Parser
    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    steps: int
    """Steps of the whole training."""
    step: int = 0

    @classmethod
    def new(cls, config: Config, train: Split, device: torch.device) -> "Trainer":
        """The state before the first step, a function of the settings and the seed."""
        torch.manual_seed(config.seed)
        recipe = config.training
        widths = {name: tensor.shape[2] for name, tensor in train.features.items()}
        parser = Parser(config.parser, widths).to(device)
        objective = Objective(config.loss, config.parser.width, config.parser.adversarial).to(device)
        trained = [*parser.parameters(), *objective.parameters()]
        optimizer = torch.optim.Adam(trained, recipe.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, recipe.decay_every, recipe.decay)
        return cls(config, parser, objective, optimizer, schedule, recipe.epochs * train.steps(recipe.batch))

    def descend(self, batch: Batch) -> dict[str, Tensor]:
        """One step on one batch; the loss and its parts before it."""
        parsed = self.parser(batch.features, batch.present)
        parts = self.objective(parsed, batch.labels, self.step / self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        self.optimizer.step()
        self.step += 1
        return {name: value.detach() for name, value in parts.items()}


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


def fit(trainer: Trainer, train: Split, validation: Split, record: Record) -> Best:
    """The best epoch of the whole training; says one line an epoch."""
    epochs, best = trainer.config.training.epochs, None
    for epoch in range(1, epochs + 1):
        start = time.monotonic()
        means = run_epoch(trainer, train, epoch, record)
        seconds = time.monotonic() - start
        judgement = judge(trainer.parser, validation, trainer.config.protocol)
        best = better(best, epoch, judgement, trainer.parser)
        record.metrics(epoch, {f"epoch/{name}": value for name, value in means.items()})
        record.metrics(epoch, judgement.flat("validation") | {"epoch/seconds": seconds})
        say(
            f"epoch {epoch}/{epochs}: loss {means['loss']:.4f}, validation segment Type@AV "
            f"{judgement.scores['segment']['type_at_av']:.2f} (best {best.type_at_av:.2f}, epoch {best.epoch}), "
            f"{seconds:.1f} s"
        )
    assert best is not None
    return best


def run_epoch(trainer: Trainer, train: Split, epoch: int, record: Record) -> dict[str, float]:
    """The mean of each part of the loss over one epoch's steps.

    Raises Refusal at the first recorded step whose loss is not a finite number.
    """
    recipe, totals = trainer.config.training, dict[str, Tensor]()
    trainer.parser.train()
    batches = train.shuffled(recipe.batch, trainer.config.seed, epoch)
    what = f"epoch {epoch}/{recipe.epochs}"
    for batch in track(batches, what, train.steps(recipe.batch), "batch"):
        parts = trainer.descend(batch)
        totals = {name: totals.get(name, 0.0) + value for name, value in parts.items()}
        if trainer.step % recipe.record_every == 0:
            record.metrics(trainer.step, {f"step/{name}": value.item() for name, value in parts.items()})
            _check_finite(parts["loss"].item(), trainer, epoch)
    means = {name: total.item() / train.steps(recipe.batch) for name, total in totals.items()}
    _check_finite(means["loss"], trainer, epoch)
    record.metrics(epoch, {"epoch/learning_rate": trainer.optimizer.param_groups[0]["lr"]})
    trainer.schedule.step()
    return means


def trained_on(config: Config, train: Split, validation: Split, epoch: int) -> dict[str, Any]:
    """What the saved parser says of its origin, and what evaluate later holds its inputs against."""
    return {
        "features": traits(train.shards, config.parser.features),
        "manifests": {split.name: split.shards.manifest.digest for split in (train, validation)},
        "videos": {split.name: len(split) for split in (train, validation)},
        "tables": table_digests(config.tables),
        "epoch": epoch,
        "settings": config.model_dump(mode="json", exclude={"parser", "tracking", "replace", "out"}),
    }


def _check_finite(loss: float, trainer: Trainer, epoch: int) -> None:
    if not torch.isfinite(torch.tensor(loss)):
        raise Refusal(
            f"The loss must stay a finite number, but is {loss} by step {trainer.step} (epoch {epoch}): lower "
            f"training.learning_rate (now {trainer.config.training.learning_rate}), or look for extreme features."
        )
