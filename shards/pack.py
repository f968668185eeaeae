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
from shards.arrays import ArrayFolder, check_present, open_folders
from shards.labels import SPLITS, Tables, feature_id
from shards.manifest import Manifest
from shards.schema import SECONDS, Video, check_key
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
    folders: tuple[str, ...] = Field((), description="names of the feature folders to pack; all of them when empty")
    dtype: Literal["float16", "float32"] = Field("float16", description="how values are stored")
    videos_per_shard: int = Field(1000, ge=1, description="videos a tar (54 kB a video with LLP's features)")
    replace: bool = Field(False, description="whether an output folder that is there already may be replaced")
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
        stems = sorted(path.stem for path in folders[0].path.glob("*.npy"))
        keys = [_key_without_table(stem) for stem in stems]
        for key in keys:
            check_key(key, f"'{folders[0].path}'")
        say(f"No tables: packing all {len(keys)} videos into one shard set.")
        return {"": dict(zip(keys, stems, strict=True))}
    tables = Tables.load(config.tables)
    say(f"Read the tables in '{config.tables}'. {tables.defects.report()}")
    return {split: {key: feature_id(key) for key in tables.keys(split)} for split in SPLITS if tables.keys(split)}


def _key_without_table(stem: str) -> str:
    """The stem where it ends in `_<start>_<end>`, else the stem as a video's first ten seconds."""
    try:
        feature_id(stem)
    except Refusal:
        return f"{stem}_0_{SECONDS}"
    return stem


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
    path = features.parent / CORPUS
    return json.loads(path.read_text()) if path.exists() else None
