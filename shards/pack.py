"""python -m launch pack --features corpus/feats --tables corpus/tables --out corpus/shards
python -m launch pack --tfrecords audioset_v1_embeddings --features feats --missing skip --out shards
python -m launch pack --webdataset 'old/*.tar' --out shards

Packs features into WebDataset shards: with LLP's tables one shard set a split (`out/train`, `out/validation`,
`out/test`), without tables one set of every video there is. A pack that was stopped or killed goes on when it is
started again; the bytes depend neither on that nor on the number of processes.
"""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from launch import tracking
from launch.atomic import Unfinished, resumable_folder, run_of
from launch.crew import share_out
from launch.digest import sha256_json
from launch.progress import say, track
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Record, Thing, Tracking
from shards.finished import Done, going_on, sweep
from shards.labels import SPLITS, Tables
from shards.manifest import Manifest
from shards.packing import Builder, Plan
from shards.sources import Source, unreadable
from shards.sources.join import Selection, check_distinct, join
from shards.sources.npy import open_folders
from shards.sources.tfrecord import open_records
from shards.sources.webdataset import open_tars
from shards.traced import label_tables, written_set

CORPUS = "corpus.json"
"""What a generator leaves beside the feature folders' parent: its name, version and seed, copied into the manifest."""
FEW = 3
"""Videos that were left out and are named on the screen; the run's `skipped.csv` names all."""


class Config(Settings):
    """Packs features into WebDataset shards, one <key>.safetensors a video; several sources are joined by key."""

    features: Path | None = Field(
        None, description="folder that holds one folder of <id>.npy files a feature (vggish/, res152/, …)"
    )
    folders: tuple[str, ...] = Field(
        (), description="names of the feature folders to pack; none named: all that hold .npy files"
    )
    tfrecords: tuple[str, ...] = Field(
        (), description="folders or globs of AudioSet's TFRecord release (feature vggish, dequantised)"
    )
    webdataset: tuple[str, ...] = Field(
        (), description="folders or globs of WebDataset tars with members <key>.<feature>.npy"
    )
    tables: Path | None = Field(
        None,
        description="folder of LLP's tables: which videos, in which split; every video there is when absent",
    )
    out: Path = Field(description="folder to write: a shard set a split, or one set without tables")
    dtype: Literal["float16", "float32"] = Field("float16", description="how values are stored")
    videos_per_shard: int = Field(1000, ge=1, description="videos a tar (54 kB a video with LLP's features)")
    on_bad: Literal["stop", "skip"] = Field(
        "stop", description="what to do at a video whose features are unreadable, misshapen or not finite"
    )
    missing: Literal["stop", "skip"] = Field("stop", description="what to do at a video that lacks a feature")
    processes: int = Field(0, ge=0, description="processes that make shards; 0: one a core, 1: none but this one")
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Reads every feature once and writes the shard sets, all or none."""
    sources = _sources(config)
    selection = _select(config, sources)
    plan = Plan(selection, config.videos_per_shard)
    going_on_with = run_of(config.out, plan.identity())
    with tracking.run(config.tracking, "pack", config, resume=going_on_with) as record:
        record.reads(*_things(config))
        with resumable_folder(config.out, plan.identity(), config.replace) as unfinished:
            unfinished.run.write_text(record.run_id)
            done = _make(config, plan, unfinished)
            sweep(unfinished, done)
            manifests = {name: _manifest(config, selection, name, done) for name in selection.sets}
            for name, manifest in manifests.items():
                manifest.write(unfinished.result / name)
        for name, manifest in manifests.items():
            size = sum(shard.bytes for shard in manifest.shards) / 2**20
            say(
                f"Wrote '{config.out / name}': {manifest.videos} videos in {len(manifest.shards)} shards, "
                f"{size:,.0f} MiB, manifest {manifest.digest[:12]}."
            )
            record.metrics(0, {f"videos.{name or 'all'}": manifest.videos})
        record.makes(*(written_set(manifest, config.out / name, name) for name, manifest in manifests.items()))
        _report_left_out(record, done, selection)


def _things(config: Config) -> list[Thing]:
    """What is read that has a digest: the tables, and the corpus that a generator planted."""
    planted = _corpus(config.features) if config.features else None
    corpus = [Thing("corpus", sha256_json(planted), str(config.features))] if planted else []
    return corpus + ([label_tables(config.tables)] if config.tables else [])


def _sources(config: Config) -> list[Source]:
    """One source a feature, in the order of the settings."""
    sources: list[Source] = []
    named = ", ".join(str(place) for place in (config.features, *config.tfrecords, *config.webdataset) if place)
    try:
        if config.features:
            sources += open_folders(config.features, config.folders, config.dtype)
        if config.tfrecords:
            sources.append(open_records(config.tfrecords, config.dtype))
        if config.webdataset:
            sources += open_tars(config.webdataset, config.dtype)
    except OSError as error:
        raise unreadable(error.filename or named, error) from None
    if not sources:
        raise Refusal("A corpus must come from somewhere: give --features, --tfrecords or --webdataset.")
    check_distinct(sources)
    features = ", ".join(f"{each.reader.feature.name} ({each.reader.feature.width})" for each in sources)
    say(f"Read from '{named}': {features}.")
    return sources


def _select(config: Config, sources: Sequence[Source]) -> Selection:
    """The videos of each shard set: a set a split of the tables, or one of all there are."""
    if config.tables is None:
        selection = join(sources, None, config.missing)
        say(f"No tables: packing all {len(selection.sets[''])} videos into one shard set.")
        return selection
    tables = Tables.load(config.tables)
    say(f"Read the tables in '{config.tables}'. {tables.defects.report()}")
    selection = join(sources, {split: tables.keys(split) for split in SPLITS if tables.keys(split)}, config.missing)
    for split in selection.missing:
        if split not in selection.sets:
            say(f"No video of the tables' {split} split has every feature: there will be no set of it.")
    return selection


def _make(config: Config, plan: Plan, unfinished: Unfinished) -> list[Done]:
    """Makes every shard that is not there yet; what became of each, in order."""
    builder = Builder(plan.readers, config.on_bad, unfinished)
    count = min(config.processes or os.cpu_count() or 1, plan.shards)
    with going_on(unfinished, plan.counts) as done, share_out(builder, plan.tasks(), count) as results:
        done.extend(track(results, "pack", plan.shards, "shards"))
    places = {name: place for place, name in enumerate(plan.videos.sets)}
    return sorted(done, key=lambda each: (places[each.set], each.number))


def _manifest(config: Config, selection: Selection, name: str, done: Sequence[Done]) -> Manifest:
    mine = [each for each in done if each.set == name]
    shards = tuple(each.shard for each in mine if each.shard)
    if not shards:
        raise Refusal(
            f"A shard set must hold at least one video, but all of '{config.out / name}' are bad: {mine[0].bad[0][1]}"
        )
    bad, videos = sum(len(each.bad) for each in mine), sum(shard.videos for shard in shards)
    if bad > videos:
        raise Refusal(
            f"At most half of a set's videos may be bad, but {bad} of {bad + videos} of '{config.out / name}' are, the "
            f"first so: {next(fault for each in mine for _, fault in each.bad)} Where these are right it is the very "
            "first video, which decides a feature's width, that is wrong."
        )
    source = {
        "stage": "pack",
        "split": name,
        "corpus": _corpus(config.features) if config.features else None,
        "inputs": [dict(each.told) for each in selection.sources],
        "left_out": {"bad": bad, "missing": len(selection.missing[name])},
    }
    return Manifest({each.reader.feature.name: each.reader.feature for each in selection.sources}, shards, source)


def _report_left_out(record: Record, done: Sequence[Done], selection: Selection) -> None:
    """Names the first videos that were left out, and writes all of them to the run's `skipped.csv`."""
    bad = [(each.set, key, fault) for each in done for key, fault in each.bad]
    lacking = [
        (name, key, f"'{where}' is missing") for name, each in selection.missing.items() for key, where in each.items()
    ]
    for what, rows in (("bad videos", bad), ("videos that lack a feature", lacking)):
        if rows:
            first = "".join(f"\n  {key}: {fault}" for _, key, fault in rows[:FEW])
            say(f"Left out {len(rows)} {what}{first}{f'{chr(10)}  …' if len(rows) > FEW else ''}")
    if bad or lacking:
        text = io.StringIO()
        csv.writer(text).writerows([("set", "key", "reason"), *bad, *lacking])
        record.text("skipped.csv", text.getvalue())
        say("All of them are in the run's skipped.csv.")
    record.metrics(0, {"left_out.bad": len(bad), "left_out.missing": len(lacking)})


def _corpus(features: Path) -> Any:
    """What the generator says of itself, or None for features that were not generated."""
    path = features.resolve().parent / CORPUS
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        raise Refusal(f"'{path}' must be the JSON that synthesise wrote, but is not ({error}): remove it.") from None
