"""python -m launch finetune finetune/configs/han.toml --shards DIR --tables DIR --out DIR

Trains a parser on the weak labels of the training split and keeps the epoch whose parse of the validation split has
the best segment Type@AV. Writes `parser.safetensors`, `settings.json` and `scores.json` (validation) into `--out`.
Stopped or killed, it goes on when the same command is given again, and its parser does not show it.
"""

from contextlib import ExitStack, closing
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from finetune.batches import Missing, Split, load_splits, traits
from finetune.course import Best, Recipe, Trainer, fit
from finetune.encoder import Start, check_exporter, start
from finetune.parser import Parser
from finetune.saved import Saved
from finetune.scoring.protocol import (
    conditions,
    describe,
    fit_thresholds,
    judge,
    table,
    table_digests,
    write_scores,
)
from launch import tracking
from launch.atomic import check_target, resumable_folder
from launch.digest import sha256_json
from launch.preemption import listening
from launch.progress import say
from launch.refusal import Refusal
from launch.settings import names
from launch.tracking import Tracking
from launch.world import World
from shards.labels import Tables
from shards.location import Location
from shards.read import ReadSettings

VERSION = "1"
"""Of a training's state and of how it goes on; one of another version is not gone on with."""
BESIDE_THE_COURSE = ("training.record_every", "training.keep_every")
"""Settings of the recipe that may change while a training is stopped."""


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
        train, validation = _read(config, world.device)
        check_exporter(config.exported_by, (train, validation), config.parser.features)
        encoder = start(config.parser, traits(train.shards, config.parser.features))
        plan = course_of(config, train, validation, encoder)
        unfinished = held.enter_context(resumable_folder(config.out, plan, config.replace, start_over=config.replace))
        saved = Saved(unfinished.notes)
        trainer = Trainer.new(config, train, world.device, encoder and encoder.module)
        run = _resume(trainer, saved)
        with (
            tracking.run(config.tracking, "finetune", config, resume=run) as record,
            held.pop_all(),  # the run is not FINISHED before the folder is in its place
        ):
            record.tags({f"manifest.{split.name}": split.shards.manifest.digest for split in (train, validation)})
            record.skipped(0, train.faults + validation.faults)
            best = fit(trainer, train, validation, record, saved, lambda: requests.made)
            told = write(unfinished.result, config, trainer.parser, best, (train, validation))
            for path in sorted(unfinished.result.iterdir()):
                record.artifact(path)
    say(f"Best on validation after epoch {best.epoch}, {len(validation):,} videos:\n{told}")
    say(f"Wrote parser.safetensors, settings.json and scores.json into '{config.out}'.")


def course_of(config: Config, train: Split, validation: Split, encoder: Start | None) -> dict[str, str]:
    """All that the parser depends on, by name: a training that was stopped goes on if none of it has changed."""
    settings = [name for name in names(Recipe) if name not in BESIDE_THE_COURSE]
    course = {"version": VERSION} | {name: str(attrgetter(name)(config)) for name in settings}
    course |= {"parser.encoder": encoder.digest} if encoder else {}
    course |= {f"tables/{name}": digest for name, digest in table_digests(config.tables).items()}
    for split in (train, validation):
        course |= {f"shards/{split.name}": split.shards.manifest.digest}
        course |= {f"videos of {split.name}": sha256_json(list(split.keys))}
    return course


def write(folder: Path, config: Config, parser: Parser, best: Best, splits: tuple[Split, Split]) -> str:
    """Writes the best epoch's parser and its validation scores into the folder; the scores and their protocol in words.

    The parser brings thresholds per class along, whether or not the protocol asks for them.
    """
    train, validation = splits
    parser.load_state_dict(best.weights)
    fitted = fit_thresholds(parser, validation, config.protocol)
    parser.trained_on = origin = trained_on(config, train, validation, best.epoch) | {"thresholds": fitted}
    parser.save(folder, origin)
    judgement = judge(parser, validation, config.protocol)
    protocol = describe(config.protocol, validation, origin["videos"], origin["tables"], fitted)
    write_scores(folder, judgement, protocol)
    return f"{table(judgement.scores, judgement.exclusive)}\n{conditions(protocol)}"


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


def _read(config: Config, device: torch.device) -> tuple[Split, Split]:
    tables = Tables.load(config.tables)
    say(f"Read the tables in '{config.tables}'.")
    train, validation = load_splits(
        config.shards, tables, ("train", "validation"), config.parser.features, config.missing, device, config.reading
    )
    return train, validation


def _resume(trainer: Trainer, saved: Saved) -> str:
    """Takes the trainer to where an earlier start left it; the id of that start's MLflow run, "" without one."""
    state = saved.read()
    if state is None:
        return ""
    trainer.take(state)
    say(f"Going on after step {trainer.step:,} of {trainer.steps:,}, where an earlier start of this training stopped.")
    return state.numbers["run"]
