"""What runs say of the data that they read and make: shard sets and label tables, each by its digest."""

import json
from collections.abc import Sequence
from pathlib import Path

from launch.digest import sha256_file, sha256_json
from launch.target import FILMS
from launch.tracking.lineage import Thing
from shards.labels import DENSE_FILES, FULL_FILE, WEAK_FILES
from shards.manifest import Manifest
from shards.read import Shards
from shards.schema import SECONDS


def shard_set(shards: Shards, name: str = "") -> Thing:
    """A shard set that is read; `name`: which of several, such as a split's."""
    return written_set(shards.manifest, shards.location, name)


def written_set(manifest: Manifest, place: str | Path, name: str = "") -> Thing:
    """A shard set that is made."""
    features = manifest.features.values()
    columns = {each.name: f"{each.dtype} {SECONDS} × {each.width} {each.variant}".strip() for each in features}
    facts = {"videos": manifest.videos, "shards": len(manifest.shards)}
    return Thing("shards", manifest.digest, place, name, columns, facts)


def video_files(sizes: Sequence[tuple[str, int]], places: Sequence[Path]) -> Thing:
    """Video files, by the name and size of each; those that a stage filmed by all that it filmed with them."""
    filmed, *others = {_filmed(place.absolute()) for place in places}
    digest = sha256_json(sizes) if others or not filmed else filmed
    return Thing("videos", digest, places[0].absolute(), facts={"files": len(sizes)})


def _filmed(place: Path) -> str:
    """The digest of the films that a folder of videos, or one of them, is part of; "" where it is of none."""
    for folder in (place, *place.parents[:2]):
        try:
            return str(json.loads((folder / FILMS).read_text())["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ""


def label_tables(folder: Path) -> Thing:
    """The six annotation tables in a folder, as one thing."""
    digests = table_digests(folder)
    return Thing("tables", sha256_json(digests), folder, columns={name: found[:12] for name, found in digests.items()})


def table_digests(folder: Path) -> dict[str, str]:
    """The sha256 of each of the six annotation tables in `folder`, by file name: which truth a score was held to."""
    names = sorted([*WEAK_FILES.values(), FULL_FILE, *DENSE_FILES.values()])
    return {name: sha256_file(folder / name) for name in names}
