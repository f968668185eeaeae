"""python -m launch pack --features corpus/feats --tables corpus/tables --out corpus/shards

Packs folders of `.npy` features into WebDataset shards: with LLP's tables one shard set a split (`out/train`,
`out/validation`, `out/test`), without tables one set of every video there is.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from launch import tracking
from launch.atomic import whole_folder
from launch.progress import say, track
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Tracking
from shards.labels import SPLITS, Tables, feature_id
from shards.manifest import Manifest
from shards.schema import SECONDS, Video, check_key
from shards.sources.npy import ArrayFolder, check_present, open_folders, stems
from shards.write import Writer

CORPUS = "corpus.json"
"""What a generator leaves beside the feature folders' parent: its name, version and seed, copied into the manifest."""


class Config(Settings):
    """Packs folders of .npy features into WebDataset shards, one <key>.safetensors a video."""

    features: Path = Field(description="folder that holds one folder of <id>.npy files a feature (vggish/, res152/, …)")
    tables: Path | None = Field(
        None,
        description="folder of LLP's tables: which videos, in which split; every video there is when absent",
    )
    out: Path = Field(description="folder to write: a shard set a split, or one set without tables")
    folders: tuple[str, ...] = Field(
        (), description="names of the feature folders to pack; none named: all that hold .npy files"
    )
    dtype: Literal["float16", "float32"] = Field("float16", description="how values are stored")
    videos_per_shard: int = Field(1000, ge=1, description="videos a tar (54 kB a video with LLP's features)")
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Reads every feature file once and writes the shard sets, all or none."""
    folders = open_folders(config.features, config.folders, config.dtype)
    named = ", ".join(f"{each.feature.name} ({each.feature.width})" for each in folders)
    say(f"Read from '{config.features}': {named}.")
    sets = _sets(config, folders)
    check_present(folders, [identity for videos in sets.values() for identity in videos.values()])
    with tracking.run(config.tracking, "pack", config) as record:
        with whole_folder(config.out, config.replace) as temporary:
            manifests = {name: _pack(config, temporary, name, videos, folders) for name, videos in sets.items()}
        for name, manifest in manifests.items():
            size = sum(shard.bytes for shard in manifest.shards) / 2**20
            say(
                f"Wrote '{config.out / name}': {manifest.videos} videos in {len(manifest.shards)} shards, "
                f"{size:,.0f} MiB, manifest {manifest.digest[:12]}."
            )
            record.tags({f"manifest.{name or 'all'}": manifest.digest})
            record.metrics(0, {f"videos.{name or 'all'}": manifest.videos})


def _sets(config: Config, folders: Sequence[ArrayFolder]) -> dict[str, dict[str, str]]:
    """The videos of each shard set: name → key → name of its feature files without suffix."""
    if config.tables is None:
        videos = _videos_without_tables(folders)
        say(f"No tables: packing all {len(videos)} videos into one shard set.")
        return {"": videos}
    tables = Tables.load(config.tables)
    say(f"Read the tables in '{config.tables}'. {tables.defects.report()}")
    sets = {split: {key: feature_id(key) for key in tables.keys(split)} for split in SPLITS if tables.keys(split)}
    seen: dict[str, str] = {}
    for key, identity in ((key, identity) for videos in sets.values() for key, identity in videos.items()):
        if identity in seen:
            raise Refusal(
                f"Every video must have feature files of its own, but '{seen[identity]}' and '{key}' in "
                f"'{config.tables}' would both read '{identity}.npy': take one of them out of the tables."
            )
        seen[identity] = key
    return sets


def _videos_without_tables(folders: Sequence[ArrayFolder]) -> dict[str, str]:
    """Key → stem of every video of any folder; a stem that does not end in `_<start>_<end>` starts at 0."""
    videos: dict[str, str] = {}
    for stem in stems(folders):
        try:
            feature_id(stem)
            key = stem
        except Refusal:
            key = f"{stem}_0_{SECONDS}"
        check_key(key, f"'{folders[0].path.parent}'")
        if key in videos:
            raise Refusal(
                f"A key must be unique, but '{videos[key]}.npy' and '{stem}.npy' in '{folders[0].path.parent}' both "
                f"stand for '{key}': rename one."
            )
        videos[key] = stem
    return videos


def _pack(config: Config, out: Path, name: str, videos: Mapping[str, str], folders: Sequence[ArrayFolder]) -> Manifest:
    features = [folder.feature for folder in folders]
    source = {"stage": "pack", "split": name, "corpus": _corpus(config.features)}
    with Writer(out / name, features, source, config.videos_per_shard) as writer:
        for key, identity in track(videos.items(), f"pack {name}".strip(), len(videos), "videos"):
            writer.add(Video(key, {folder.feature.name: folder.read(identity) for folder in folders}))
    assert writer.manifest is not None
    return writer.manifest


def _corpus(features: Path) -> Any:
    """What the generator says of itself, or None for features that were not generated."""
    path = features.resolve().parent / CORPUS
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        raise Refusal(f"'{path}' must be the JSON that synthesise wrote, but is not ({error}): remove it.") from None
