"""python -m launch finetune finetune/configs/han.toml --shards DIR --tables DIR --out DIR

Trains a parser on the weak labels of the training split and keeps the epoch whose parse of the validation split has
the best segment Type@AV. Writes `parser.safetensors`, `settings.json`, `scores.json` (validation) and
`MODEL_CARD.md` into `--out`.
Stopped or killed, it goes on when the same command is given again, and its parser does not show it.
"""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from finetune import outset
from finetune.batches import Missing, Split, load_splits, record_left_out, traits
from finetune.cleaning.outside import digest, read_pseudo_labels
from finetune.cleaning.targets import OfSeconds
from finetune.course import fit
from finetune.encoder import Start, check_exporter, start
from finetune.parser import Parser
from finetune.recipe import Recipe
from finetune.saved import Saved
from finetune.scoring.protocol import (
    conditions,
    describe,
    fit_thresholds,
    judge,
    table,
    write_scores,
)
from finetune.served.card import write_card
from finetune.traced import parser_of
from finetune.trainer import Best, Trainer
from launch import tracking
from launch.atomic import resumable_folder
from launch.digest import sha256_json
from launch.preemption import listening
from launch.progress import say
from launch.refusal import Refusal
from launch.settings import names
from launch.target import check_target
from launch.tracking import Thing, Tracking
from launch.world import World
from shards.labels import Tables
from shards.location import Location
from shards.read import ReadSettings
from shards.traced import label_tables, shard_set, table_digests

VERSION = "1"
"""Of a training's state and of how it goes on; one of another version is not gone on with."""
BESIDE_THE_COURSE = ("training.record_every", "training.keep_every")
"""Settings of the recipe that may change while a training is stopped."""
NOT_TOLD: dict[str, Any] = {
    **dict.fromkeys(("parser", "tracking", "replace", "reading"), True),
    **dict.fromkeys(("out", "shards", "tables", "exported_by"), True),
    "cleaning": {"pseudo"},
}
"""Settings that a parser's files do not repeat: its own, what made no difference to it, and where files lay.

Of what was in these files the parser has digests.
"""


class Config(Recipe):
    """Trains a parser: features and weak labels of the training split in, the best parser on validation out."""

    shards: Location = Field(
        description="folder or URL of shard sets 'train' and 'validation', written by pack or export"
    )
    tables: Path = Field(description="folder of LLP's six annotation tables")
    out: Path = Field(description="new folder for the parser, its settings and its validation scores")
    replace: bool = Field(
        False,
        description="whether the result may replace the one in out, or what was begun of another",
    )
    missing: Missing = Field("refuse", description="videos of the tables that the shards lack: refuse, or skip")
    exported_by: str = Field(
        "", description="folder (or digest) of the encoder that the embeddings must be by; empty: by any, or none"
    )
    reading: ReadSettings = ReadSettings()
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Runs the stage; raises Refusal for inputs that do not fit and for a loss that is not a number."""
    with closing(World.from_environment(config.seed)) as world, listening() as requests, ExitStack() as held:
        if world.size > 1:
            raise Refusal(
                f"finetune runs in one process (LLP fits in its memory), but {world.size} were started: start one."
            )
        check_target(config.out, config.replace)
        inputs = Inputs.read(config, world.device)
        plan = course_of(config, inputs)
        over = config.replace and not world.restarts
        unfinished = held.enter_context(resumable_folder(config.out, plan, config.replace, start_over=over))
        saved = Saved(unfinished.notes)
        encoder = inputs.encoder.module if inputs.encoder else None
        trainer = Trainer.new(config, inputs.train, world.device, encoder, inputs.pseudo)
        run = _resume(trainer, saved)
        say(outset.told(f"Training a parser into '{config.out}'", trainer, inputs.train, inputs.validation, world))
        with (
            tracking.run(config.tracking, "finetune", config, resume=run) as record,
            held.pop_all(),  # the run is not FINISHED before the folder is in its place
        ):
            record.reads(*inputs.things(config))
            record_left_out(record, (inputs.train, inputs.validation))
            best = fit(trainer, inputs.train, inputs.validation, record, saved, lambda: requests.made)
            told = write(unfinished.result, config, trainer.parser, best, inputs)
            record.makes(parser_of(unfinished.result, config.out))
            for path in sorted(unfinished.result.iterdir()):
                record.artifact(path)
    say(f"Best on validation after epoch {best.epoch}, {len(inputs.validation):,} videos:\n{told}")
    say(f"Wrote parser.safetensors, settings.json, scores.json and MODEL_CARD.md into '{config.out}'.")


@dataclass(frozen=True)
class Inputs:
    """What a training reads."""

    train: Split
    validation: Split
    encoder: Start | None
    """The encoder that is trained along, where the parser has one."""
    pseudo: OfSeconds | None
    """What `cleaning.pseudo` says of the seconds of the training videos."""

    @classmethod
    def read(cls, config: Config, device: torch.device) -> "Inputs":
        """Both splits on the device; raises Refusal for inputs that do not fit the settings or each other."""
        tables, features = Tables.load(config.tables), config.parser.features
        say(f"Read the tables in '{config.tables}'.")
        splits = ("train", "validation")
        train, validation = load_splits(config.shards, tables, splits, features, config.missing, device, config.reading)
        check_exporter(config.exported_by, (train, validation), features)
        folder = config.cleaning.pseudo
        pseudo = None if folder is None else read_pseudo_labels(folder, train.keys).to(device)
        return cls(train, validation, start(config.parser, traits(train.shards, features)), pseudo)

    def things(self, config: Config) -> list[Thing]:
        """All that is read, as the run tells it."""
        sets = [shard_set(split.shards, split.name) for split in (self.train, self.validation)]
        encoder, pseudo = self.encoder, self.pseudo
        others = [Thing("encoder", encoder.digest, str(config.parser.encoder))] if encoder else []
        others += [Thing("pseudo_labels", digest(pseudo), str(config.cleaning.pseudo))] if pseudo is not None else []
        return [*sets, label_tables(config.tables), *others]

    @property
    def manifests(self) -> dict[str, str]:
        """The digest of each split's shard set."""
        return {split.name: split.shards.manifest.digest for split in (self.train, self.validation)}


def course_of(config: Config, inputs: Inputs) -> dict[str, str]:
    """All that the parser depends on, by name: a training that was stopped goes on if none of it has changed."""
    settings = [name for name in names(Recipe) if name not in BESIDE_THE_COURSE]
    course = {"version": VERSION} | {name: str(attrgetter(name)(config)) for name in settings}
    course |= {"parser.encoder": inputs.encoder.digest} if inputs.encoder else {}
    course |= {"cleaning.pseudo": digest(inputs.pseudo)} if inputs.pseudo is not None else {}
    course |= {f"tables/{name}": digest for name, digest in table_digests(config.tables).items()}
    course |= {f"shards/{name}": digest for name, digest in inputs.manifests.items()}
    videos = {split.name: sha256_json(list(split.keys)) for split in (inputs.train, inputs.validation)}
    return course | {f"videos of {name}": digest for name, digest in videos.items()}


def write(folder: Path, config: Config, parser: Parser, best: Best, inputs: Inputs) -> str:
    """Writes the best epoch's parser and its validation scores into the folder; the scores and their protocol in words.

    The parser brings thresholds per class along, whether or not the protocol asks for them.
    """
    parser.load_state_dict(best.weights)
    fitted = fit_thresholds(parser, inputs.validation, config.protocol)
    parser.trained_on = origin = trained_on(config, inputs, best.epoch) | {"thresholds": fitted}
    parser.save(folder, origin)
    judgement = judge(parser, inputs.validation, config.protocol)
    protocol = describe(config.protocol, inputs.validation, origin["videos"], origin["tables"], fitted)
    write_scores(folder, judgement, protocol)
    write_card(folder, parser)
    return f"{table(judgement.scores, judgement.exclusive)}\n{conditions(protocol)}"


def trained_on(config: Config, inputs: Inputs, epoch: int) -> dict[str, Any]:
    """What the saved parser says of its origin, and what evaluate later holds its inputs against."""
    return {
        "features": traits(inputs.train.shards, config.parser.features),
        "encoder": inputs.encoder.digest if inputs.encoder else "",
        "pseudo": "" if inputs.pseudo is None else digest(inputs.pseudo),
        "manifests": inputs.manifests,
        "videos": {split.name: len(split) for split in (inputs.train, inputs.validation)},
        "never_labelled": list(inputs.train.never_labelled),
        "tables": table_digests(config.tables),
        "epoch": epoch,
        "settings": config.model_dump(mode="json", exclude=NOT_TOLD),
    }


def _resume(trainer: Trainer, saved: Saved) -> str:
    """Takes the trainer to where an earlier start left it; the id of that start's MLflow run, "" without one."""
    state = saved.read()
    if state is None:
        return ""
    trainer.take(state)
    say(f"Going on after step {trainer.step:,} of {trainer.steps:,}, where an earlier start of this training stopped.")
    return state.numbers["run"]
