"""python -m launch evaluate --parser runs/han --shards DIR --tables DIR --out DIR

Scores a saved parser on a split. Prints the ten F-scores, and beside them what is only heard and only seen, with the
protocol they were made by, and writes `scores.json`, `categories.csv` (segment F1 of each category) and
`categories.png` into `--out`.
"""

import csv
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from finetune.batches import Missing, load_splits, record_left_out
from finetune.figures.categories import category_figure
from finetune.parser import Parser, origin
from finetune.scoring.decision import Protocol
from finetune.scoring.protocol import (
    SCORES,
    Judgement,
    conditions,
    describe,
    in_short,
    judge,
    table,
    thresholds_of,
    write_scores,
)
from finetune.traced import parser_of
from launch import tracking
from launch.atomic import whole_folder
from launch.digest import sha256_file
from launch.progress import say
from launch.settings import Settings
from launch.tracking import Thing, Tracking
from launch.world import World
from shards.labels import CATEGORIES, Tables
from shards.location import Location
from shards.read import ReadSettings
from shards.traced import label_tables, shard_set, table_digests


class Config(Settings):
    """Scores a saved parser on the test split: ten F-scores, a table and a plot of each category's."""

    parser: Path = Field(description="folder of the parser that finetune wrote")
    shards: Location = Field(description="folder or URL with a shard set named as the split, written by pack or export")
    tables: Path = Field(description="folder of LLP's six annotation tables")
    out: Path = Field(description="new folder for the scores, the table and the plot")
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    split: Literal["test", "validation"] = Field("test", description="which split is scored")
    missing: Missing = Field("refuse", description="videos of the tables that the shards lack: refuse, or skip")
    batch: int = Field(128, ge=1, description="videos at a time; the scores do not depend on it")
    protocol: Protocol = Protocol()
    reading: ReadSettings = ReadSettings()
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Runs the stage; raises Refusal for a parser and shards that do not belong together."""
    with (
        closing(World.from_environment(seed=0)) as world,
        tracking.run(config.tracking, "evaluate", config) as record,
        whole_folder(config.out, config.replace) as folder,
    ):
        parser = Parser.from_pretrained(config.parser).to(world.device)
        features, trained = origin(parser, config.parser)
        thresholds_of(parser, config.protocol)  # refuses before the shards are read
        tables = Tables.load(config.tables)
        say(f"Read the parser in '{config.parser}' and the tables in '{config.tables}'.")
        names, wanted = (config.split,), tuple(features)
        (split,) = load_splits(
            config.shards, tables, names, wanted, config.missing, world.device, config.reading, features
        )
        record.reads(parser_of(config.parser), shard_set(split.shards, split.name), label_tables(config.tables))
        record_left_out(record, (split,))
        judgement = judge(parser, split, config.protocol, config.batch)
        fitted = parser.trained_on.get("thresholds")
        protocol = describe(config.protocol, split, {"train": trained}, table_digests(config.tables), fitted)
        write(folder, judgement, protocol, config)
        record.metrics(0, judgement.flat(config.split))
        record.makes(Thing("scores", sha256_file(folder / SCORES), config.out, config.split))
        for path in sorted(folder.iterdir()):
            record.artifact(path)
    say(f"Scores in percent, '{config.parser}' on {config.split}:\n{table(judgement.scores, judgement.exclusive)}")
    say(conditions(protocol))
    say(f"Wrote scores.json, categories.csv and categories.png into '{config.out}'.")


def write(folder: Path, judgement: Judgement, protocol: Mapping[str, Any], config: Config) -> None:
    """Writes the scores, the table and the plot of each category into the folder."""
    write_scores(folder, judgement, protocol)
    with (folder / "categories.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("category", *judgement.categories))
        for row in zip(CATEGORIES, *judgement.categories.values(), strict=True):
            rows.writerow(["" if cell is None else cell for cell in row])
    title = f"{config.parser.name} on {judgement.videos:,} {config.split} videos, {in_short(protocol)}"
    figure = category_figure({config.parser.name: judgement.categories}, title)
    figure.savefig(folder / "categories.png", dpi=150)
