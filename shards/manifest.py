"""The manifest of a shard set: what it holds, where it came from, and the checksums the next stage relies on.

`manifest.json` is a `wids-shard-index-v1` (any WebDataset user can read it) with what that format lacks: bytes and
sha256 of each shard, the features with their shapes, variants and sources, and a schema version of its own.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from launch.atomic import whole_file
from launch.digest import sha256_json
from launch.refusal import Refusal
from shards.schema import DTYPES, SECONDS, Feature

NAME = "manifest.json"
KIND = "wids-shard-index-v1"
SCHEMA = 2
"""Version of what this project adds to the index; another version is refused."""
MOST = 1 << 26
"""Bytes a manifest may have; one of a million shards has a quarter of that."""
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.tar")


@dataclass(frozen=True)
class Shard:
    """One tar of a set: its file name, number of videos, size in bytes and sha256."""

    file: str
    videos: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Features, shards in order, and the source of a shard set."""

    features: Mapping[str, Feature]
    shards: tuple[Shard, ...]
    source: Mapping[str, Any]

    @property
    def videos(self) -> int:
        """Number of videos in the set."""
        return sum(self.counts)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of videos of each shard."""
        return tuple(shard.videos for shard in self.shards)

    @cached_property
    def digest(self) -> str:
        """The sha256 of `manifest.json` as it is written: the identity of the shard set."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def text(self) -> str:
        """The bytes of `manifest.json`, a pure function of the contents."""
        index: dict[str, Any] = {
            "__kind__": KIND,
            "wids_version": 1,
            "soundsight": SCHEMA,
            "source": dict(self.source),
            "features": [_described(feature) for feature in self.features.values()],
            "shardlist": [_entry(shard) for shard in self.shards],
        }
        index["seal"] = sha256_json(index)  # so that an edit by hand is noticed
        return json.dumps(index, indent=1, ensure_ascii=True) + "\n"

    def write(self, folder: Path) -> None:
        """Writes `folder/manifest.json`, whole or not at all."""
        with whole_file(folder / NAME) as temporary:
            temporary.write_text(self.text())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of a shard set; raises Refusal when it is missing, damaged or of another version."""
        path = folder / NAME
        try:
            text = path.read_bytes()
        except OSError:
            raise Refusal(f"A shard set must hold {NAME}, but '{folder}' does not: {_nearby(folder)}.") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: bytes, place: str) -> "Manifest":
        """The manifest in the bytes of a `manifest.json`; `place` is what a refusal calls it."""
        try:
            index = json.loads(text)
            version = index.get("soundsight")
        except (ValueError, AttributeError, RecursionError) as error:
            raise Refusal(f"A manifest must be JSON, but '{place}' is damaged ({error}): pack again.") from None
        if version != SCHEMA:
            raise Refusal(
                f"A manifest must have schema version {SCHEMA}, but '{place}' has {version!r}: "
                "pack again with this version of the project."
            )
        try:
            manifest = cls._from_index(index, place)
        except (KeyError, TypeError, ValueError) as error:
            raise Refusal(
                f"A manifest must be complete, but '{place}' lacks or misspells {error}: pack again."
            ) from None
        if hashlib.sha256(text).hexdigest() != manifest.digest:
            raise Refusal(f"A manifest must be as it was written, but '{place}' was edited by hand: pack again.")
        return manifest

    @classmethod
    def _from_index(cls, index: Mapping[str, Any], place: str) -> "Manifest":
        features = [_feature(entry) for entry in index["features"]]
        shards = tuple(
            Shard(entry["url"], entry["nsamples"], entry["filesize"], entry["sha256"]) for entry in index["shardlist"]
        )
        for shard in shards:
            if not _FILE.fullmatch(shard.file):
                raise Refusal(
                    f"A shard's url in a manifest must be the name of a tar beside it, but '{place}' has "
                    f"'{shard.file}', which is never opened: pack again."
                )
        return cls({feature.name: feature for feature in features}, shards, index["source"])


def _entry(shard: Shard) -> dict[str, Any]:
    return {"url": shard.file, "nsamples": shard.videos, "filesize": shard.bytes, "sha256": shard.sha256}


def _described(feature: Feature) -> dict[str, Any]:
    entry = asdict(feature)
    return {"name": entry.pop("name"), "dtype": entry.pop("dtype"), "shape": [SECONDS, entry.pop("width")], **entry}


def _feature(entry: Mapping[str, Any]) -> Feature:
    seconds, width = entry["shape"]
    if seconds != SECONDS or entry["dtype"] not in DTYPES:
        raise ValueError(f"shape and dtype of '{entry['name']}', {entry['shape']} {entry['dtype']}")
    return Feature(entry["name"], width, entry["variant"], entry["source"], entry["dtype"])


def _nearby(folder: Path) -> str:
    """What to give instead of a folder that is no shard set."""
    sets = ", ".join(f"'{path.parent}'" for path in sorted(folder.glob(f"*/{NAME}")))
    return f"name one of its sets, {sets}" if sets else "give the folder that pack or export wrote"
