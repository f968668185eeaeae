"""python -m launch synthesise --out corpus [--tables ../shared/llp] [--train 1500 --validation 300 --test 300]

Plants a corpus in LLP's layout, to stand in for features that may not be redistributed: `out/tables` (the six tables),
`out/feats/{vggish,res152,r2plus1d_18}/<id>.npy`, or shards at once (`out/{train,validation,test}`), an unlabelled
shard set `out/unlabelled`, and `out/truth`: what is heard and seen in the training videos, which no parser may read.
The bytes depend on seed, generator version and tables alone: not on the machine, nor on the number of processes.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from launch import tracking
from launch.atomic import whole_folder
from launch.digest import sha256_file, sha256_json
from launch.progress import say, track
from launch.settings import Settings
from launch.tracking import Thing, Tracking
from shards.labels import DENSE_FILES, FULL_FILE, SPLITS, WEAK_FILES, Tables, feature_id
from shards.manifest import NAME as MANIFEST
from shards.manifest import Manifest
from shards.pack import CORPUS
from shards.planted.dice import Dice
from shards.planted.mixtures import draw_sources
from shards.planted.tables import Cast, cast_split, cast_unlabelled, dense, own_tables, real_tables
from shards.planted.timelines import Statistics
from shards.planted.world import GENERATOR_VERSION, MODALITIES, STREAMS, render
from shards.schema import Feature, Video
from shards.sources.arrays import RAW
from shards.tables import write_dense
from shards.traced import label_tables, written_set
from shards.write import Writer

Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""A `map`, over one process or several."""


class Config(Settings):
    """Plants a corpus: features and label tables in LLP's layout, and unlabelled videos of the same world."""

    out: Path = Field(Path("corpus"), description="folder to write")
    tables: Path | None = Field(None, description="folder of the six LLP tables; absent: tables of its own like them")
    seed: int = Field(0, ge=0, description="seed of everything that is drawn")
    train: int | None = Field(None, ge=0, description="training videos, a seeded choice; all (LLP: 10,000) when absent")
    validation: int | None = Field(None, ge=0, description="validation videos, likewise (LLP: 649)")
    test: int | None = Field(None, ge=0, description="test videos, likewise (LLP: 1,200)")
    unlabelled: int = Field(0, ge=0, description="videos without labels, as shards in out/unlabelled")
    layout: Literal["npy", "shards"] = Field("npy", description="npy: LLP's feature folders, for pack; shards: at once")
    resnet_rows: Literal[80, 10] = Field(80, description="rows of a res152 file: 8 a second as LLP's, or their means")
    videos_per_shard: int = Field(1000, ge=1, description="videos a tar")
    processes: int = Field(0, ge=0, description="processes that render; 0: one a core")
    replace: bool = Field(False, description="whether an output folder that is there already may be replaced")
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Writes the whole corpus, or nothing."""
    statistics, tables = _tables(config)
    identity = _identity(config, tables)
    with tracking.run(config.tracking, "synthesise", config) as record:
        with whole_folder(config.out, config.replace) as out, _workers(config.processes) as spread:
            (out / CORPUS).write_text(json.dumps(identity, indent=2) + "\n")
            (out / "tables").mkdir()
            tables.write(out / "tables")
            for split in SPLITS:
                _write_split(config, identity, spread, out, split, cast_split(tables, split, statistics, config.seed))
            if config.unlabelled:
                _write_unlabelled(config, identity, spread, out)
        record.metrics(0, {f"videos.{split}": len(tables.keys(split)) for split in SPLITS})
        record.text(CORPUS, json.dumps(identity, indent=2))
        record.makes(*_things(config, identity))
    counts = ", ".join(f"{len(tables.keys(split)):,} {split}" for split in SPLITS)
    say(f"Wrote '{config.out}': {counts} and {config.unlabelled:,} unlabelled videos, generator {GENERATOR_VERSION}.")


def _tables(config: Config) -> tuple[Statistics, Tables]:
    sizes = {split: getattr(config, split) for split in SPLITS}
    if config.tables is None:
        statistics = Statistics.frozen()
        say("No tables given: planting tables with the statistics of LLP's validation split.")
        return statistics, own_tables(statistics, sizes, config.seed)
    tables = Tables.load(config.tables)
    say(f"Read the tables in '{config.tables}'. {tables.defects.report()}")
    return Statistics.measure(tables), real_tables(tables, sizes, config.seed)


def _identity(config: Config, tables: Tables) -> dict[str, Any]:
    """What the corpus is, for its manifests: everything that its bytes depend on."""
    names = sorted([*WEAK_FILES.values(), FULL_FILE, *DENSE_FILES.values()])
    given = [config.tables / name for name in names] if config.tables else []
    return {
        "generator": "soundsight planted corpus",
        "version": GENERATOR_VERSION,
        "seed": config.seed,
        "tables": {path.name: sha256_file(path) for path in given} or "own",
        "videos": {split: len(tables.keys(split)) for split in SPLITS},
        "unlabelled": config.unlabelled,
        "resnet_rows": config.resnet_rows if config.layout == "npy" else 10,
    }


def _things(config: Config, identity: Mapping[str, Any]) -> list[Thing]:
    """What was made: the corpus, its tables, and the shard sets that were written at once."""
    names = [name for name in (*SPLITS, "unlabelled") if (config.out / name / MANIFEST).exists()]
    sets = [written_set(Manifest.read(config.out / name), config.out / name, name) for name in names]
    return [Thing("corpus", sha256_json(identity), config.out), label_tables(config.out / "tables"), *sets]


def _write_split(
    config: Config, identity: Mapping[str, Any], spread: Spread, out: Path, split: str, casts: list[Cast]
) -> None:
    if split == "train":
        (out / "truth").mkdir()
        truths = {cast.key: cast.parses for cast in casts}
        for modality in MODALITIES:
            write_dense(out / "truth" / f"train_{modality}.csv", dense(truths, modality))
    if config.layout == "shards" and casts:
        _write_shards(config, identity, out / split, split, spread(partial(_video, config.seed), casts), len(casts))
    elif config.layout == "npy":
        for stream in STREAMS.values():
            (out / "feats" / stream.folder).mkdir(parents=True, exist_ok=True)
        save = partial(_save, config.seed, out / "feats", config.resnet_rows == 10)
        for _ in track(spread(save, casts), f"synthesise {split}", len(casts), "videos"):
            pass


def _write_unlabelled(config: Config, identity: Mapping[str, Any], spread: Spread, out: Path) -> None:
    videos = spread(partial(_unlabelled, config.seed), range(config.unlabelled))
    _write_shards(config, identity, out / "unlabelled", "unlabelled", videos, config.unlabelled)


def _write_shards(
    config: Config, identity: Mapping[str, Any], folder: Path, name: str, videos: Iterable[Video], count: int
) -> None:
    source = f"planted corpus, generator {GENERATOR_VERSION}"
    variants = {"vggish": RAW}
    features = [Feature(each, stream.width, variants.get(each, ""), source) for each, stream in STREAMS.items()]
    told = {"stage": "synthesise", "split": name, "corpus": dict(identity)}
    with Writer(folder, features, told, config.videos_per_shard) as writer:
        for video in track(videos, f"synthesise {name}", count, "videos"):
            writer.add(video)


def _features(seed: int, cast: Cast, pooled: bool) -> dict[str, np.ndarray]:
    sources = draw_sources(Dice(seed, "mixture", cast.key), cast.parses, cast.scene)
    return {
        name: render(sources[stream.modality], Dice(seed, "render", name, cast.key), name, pooled)
        for name, stream in STREAMS.items()
    }


def _save(seed: int, feats: Path, pooled: bool, cast: Cast) -> None:
    """Renders a video into its three .npy files."""
    for name, array in _features(seed, cast, pooled).items():
        np.save(feats / STREAMS[name].folder / f"{feature_id(cast.key)}.npy", array)


def _video(seed: int, cast: Cast) -> Video:
    return Video(cast.key, {name: array.astype(np.float16) for name, array in _features(seed, cast, True).items()})


def _unlabelled(seed: int, number: int) -> Video:
    return _video(seed, cast_unlabelled(seed, number))


@contextmanager
def _workers(processes: int) -> Iterator[Spread]:
    """A `map` over that many processes (0: one a core), results in order."""
    count = processes or os.cpu_count() or 1
    if count == 1:
        yield map
        return
    with get_context("spawn").Pool(count) as pool:
        yield partial(pool.imap, chunksize=16)
