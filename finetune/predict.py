"""python -m launch predict --parser runs/han --shards DIR --out DIR
python -m launch predict --parser runs/han --features DIR --tables DIR --out DIR --videos KEY KEY

Parses videos: who is heard and who is seen when. Writes into `--out` a JSON parse a video (`parses/`), label files for
Audacity and ELAN, timelines of the first videos, and `parses.json`, which names all parses and how they were made.

Shards that say where there is sound and where there is a picture (the feature `present`, which `extract` writes) are
taken at their word: nothing is heard where there is no sound, and each parse lists the seconds that lack something.
Where nothing was learned for the features (random weights), the parses, their pictures and the last line say so.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator

from finetune.batches import Missing, Traits
from finetune.parser import WEIGHTS, Parser, origin
from finetune.parses.events import LANES, VideoParse, parse_videos, true_events
from finetune.parses.folder import INDEX, ParseFolder
from finetune.parses.of_folders import from_folders
from finetune.parses.of_shards import from_shards
from finetune.parses.videos import ALL, Few, Videos
from finetune.scoring.decision import Protocol
from finetune.traced import parser_of
from launch import tracking
from launch.atomic import whole_folder
from launch.digest import sha256_file
from launch.progress import say, track
from launch.settings import Settings
from launch.tracking import Thing, Tracking
from launch.world import World
from shards.extract.recipes import warning
from shards.labels import Tables
from shards.location import Location
from shards.read import ReadSettings
from shards.schema import Feature
from shards.traced import label_tables


class Config(Settings):
    """Parses videos from shards or feature files: JSON, label files for Audacity and ELAN, timelines."""

    parser: Path = Field(description="folder of the parser that finetune wrote")
    shards: Location | None = Field(
        None, description="folder or URL of shards: one set or several; either these or features"
    )
    sets: tuple[str, ...] = Field((), description="names of the shard sets to parse; none named: all there are")
    features: Path | None = Field(
        None, description="folder with one folder of <id>.npy files a feature (vggish/, res152/, …), as pack reads"
    )
    folders: tuple[str, ...] = Field((), description="names of the feature folders; none named: those of the parser's")
    tables: Path | None = Field(
        None, description="folder of LLP's tables: keys for feature files, and the truth that timelines show"
    )
    out: Path = Field(description="new folder for the parses")
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    videos: tuple[str, ...] = Field(ALL, description="keys of the videos to parse; none named: all there are")
    labels: tuple[Literal["audacity", "elan"], ...] = Field(
        ("audacity", "elan"), description="label files to write: audacity (a track a lane), elan (a document a video)"
    )
    pictures: int = Field(10, ge=0, description="timelines are drawn of the first so many videos; 0: of none")
    curves: bool = Field(False, description="whether a parse tells the probability of every category in every second")
    missing: Missing = Field("refuse", description="videos that lack a feature file: refuse, or skip")
    batch: int = Field(128, ge=1, description="videos at a time")
    protocol: Protocol = Protocol()
    reading: ReadSettings = ReadSettings()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _one_source(self) -> "Config":
        if (self.shards is None) == (self.features is None):
            raise ValueError("videos come from one place: give either --shards or --features.")
        if self.shards is not None and self.folders:
            raise ValueError("folders belong to --features: leave them out, or name the --sets of the shards.")
        if self.features is not None and self.sets:
            raise ValueError("sets belong to --shards: leave them out, or name the --folders of the features.")
        return self


def main(config: Config) -> None:
    """Runs the stage; raises Refusal for videos that are not there and features that are not the parser's."""
    with (
        closing(World.from_environment(seed=0)) as world,
        tracking.run(config.tracking, "predict", config) as record,
        whole_folder(config.out, config.replace) as folder,
    ):
        parser = Parser.from_pretrained(config.parser).to(world.device)
        say(f"Read the parser in '{config.parser}'.")
        features, _ = origin(parser, config.parser)
        loud = _warning(features)
        tables = Tables.load(config.tables) if config.tables else None
        places = _videos(config, features, tables)
        read = [thing for videos in places for thing in videos.things()]
        record.reads(parser_of(config.parser), *read, *([label_tables(config.tables)] if config.tables else []))
        result, faults = ParseFolder(folder, config.labels, config.pictures, loud), list[str]()
        for few in _read(config, places):
            faults.extend(few.faults)
            for parse in _parse(parser, few, config, world.device):
                result.add(parse, true_events(tables, parse.key) if tables else None)
        result.finish(_told(config, places, faults))
        record.makes(Thing("parses", sha256_file(folder / INDEX), config.out))
        record.skipped(0, faults)
        record.metrics(0, {"videos": len(result.files), "events": result.events})
        for path in (folder / INDEX, *result.drawn):
            record.artifact(path)
    say(f"Wrote {len(result.files):,} parses with {result.events:,} events into '{config.out}', listed in parses.json.")
    for warned in loud:
        say(warned)


def _warning(features: dict[str, Traits]) -> list[str]:
    """What must not be overlooked of the features that the parser reads."""
    read = [Feature(name, int(traits["width"]), str(traits["variant"])) for name, traits in features.items()]
    return [loud] if (loud := warning(read)) else []


def _videos(config: Config, features: dict[str, Traits], tables: Tables | None) -> list[Videos]:
    if config.shards is not None:
        return from_shards(config.shards, features, config.videos, config.sets, config.reading)
    assert config.features is not None
    return from_folders(
        config.features, config.folders, features, config.videos, tables, config.reading, config.missing
    )


def _read(config: Config, places: list[Videos]) -> Iterator[Few]:
    starts = [(videos, first) for videos in places for first in range(0, len(videos.keys), config.batch)]
    for videos, first in track(starts, "parsing", unit="batch"):
        yield videos.few(first, config.batch)


def _parse(parser: Parser, few: Few, config: Config, device: torch.device) -> list[VideoParse]:
    if not few.keys:
        return []
    features = {name: torch.from_numpy(array).to(device).float() for name, array in few.features.items()}
    return parse_videos(parser, few.keys, features, config.protocol, few.present, config.curves)


def _told(config: Config, places: list[Videos], faults: list[str]) -> dict[str, Any]:
    """What all parses have in common: the parser, the protocol, and where the videos come from."""
    return {
        "parser": {"name": config.parser.resolve().name, "weights": sha256_file(config.parser / WEIGHTS)},
        "protocol": config.protocol.model_dump(mode="json"),
        "lanes": list(LANES),
        "inputs": [videos.told() for videos in places if videos.keys],
        "skipped": faults,
    }
