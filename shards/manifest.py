"""The manifest of a shard set: what it holds, where it came from, and the checksums the next stage relies on.

`manifest.json` is a `wids-shard-index-v1` (any WebDataset user can read it) with what that format lacks: bytes and
sha256 of each shard, the features with their shapes, variants and sources, and a schema version of its own.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from launch.atomic import whole_file
from launch.digest import sha256_json
from launch.refusal import Refusal
from shards.schema import SECONDS, Feature, check_distinct

NAME = "manifest.json"
KIND = "wids-shard-index-v1"
SCHEMA = 2
"""Version of what this project adds to the index; another version is refused."""
MOST = 1 << 26
"""Bytes a manifest may have; one of a million shards has a quarter of that."""
LEAST = 512
"""Bytes of a tar that a video takes at least: a header."""
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
        manifest = _parsed(index, place)
        if hashlib.sha256(text).hexdigest() != manifest.digest:
            raise Refusal(f"A manifest must be as it was written, but '{place}' was edited by hand: pack again.")
        return manifest


class _Strict(BaseModel):
    """What is believed of a manifest that somebody wrote: these fields, of these types, and no others."""

    model_config = ConfigDict(strict=True, extra="forbid")


class _Entry(_Strict):
    url: str
    nsamples: int = Field(ge=1, le=1 << 40)
    filesize: int = Field(ge=1, le=1 << 60)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Described(_Strict):
    name: str
    dtype: Literal["float16", "float32"]
    shape: Annotated[tuple[Literal[10], Annotated[int, Strict()]], Strict(False)]  # JSON has no tuples
    variant: str
    source: str


class _Index(_Strict):
    kind: str = Field(alias="__kind__", pattern=f"^{KIND}$")
    wids_version: Literal[1]
    soundsight: int
    source: dict[str, Any]
    features: list[_Described] = Field(min_length=1)
    shardlist: list[_Entry] = Field(min_length=1)
    seal: str


def _parsed(index: object, place: str) -> Manifest:
    """The manifest in an index that came from JSON; raises Refusal for whatever does not belong in it."""
    try:
        found = _Index.model_validate(index)
    except ValidationError as error:
        fault = error.errors()[0]
        at = ".".join(map(str, fault["loc"]))
        raise Refusal(
            f"A manifest must be complete, but '{at}' in '{place}' is not ({fault['msg'].lower()}): pack again."
        ) from None
    features = [Feature(each.name, each.shape[1], each.variant, each.source, each.dtype) for each in found.features]
    check_distinct(features, f"'{place}'")
    shards = tuple(Shard(each.url, each.nsamples, each.filesize, each.sha256) for each in found.shardlist)
    _check_shards(shards, place)
    return Manifest({feature.name: feature for feature in features}, shards, found.source)


def _check_shards(shards: Sequence[Shard], place: str) -> None:
    doubled = [name for name, count in Counter(shard.file for shard in shards).items() if count > 1]
    if doubled:
        raise Refusal(f"A shard must be once in a manifest, but '{place}' has '{doubled[0]}' twice: pack again.")
    for shard in shards:
        if not _FILE.fullmatch(shard.file):
            raise Refusal(
                f"A shard's url in a manifest must be the name of a tar beside it, but '{place}' has {shard.file!r}, "
                "which is never opened: pack again."
            )
        if shard.videos * LEAST > shard.bytes:
            raise Refusal(
                f"A video takes at least {LEAST} bytes of a tar, but by '{place}' the {shard.bytes} of '{shard.file}' "
                f"hold {shard.videos}: pack again."
            )


def _entry(shard: Shard) -> dict[str, Any]:
    return {"url": shard.file, "nsamples": shard.videos, "filesize": shard.bytes, "sha256": shard.sha256}


def _described(feature: Feature) -> dict[str, Any]:
    entry = asdict(feature)
    return {"name": entry.pop("name"), "dtype": entry.pop("dtype"), "shape": [SECONDS, entry.pop("width")], **entry}


def _nearby(folder: Path) -> str:
    """What to give instead of a folder that is no shard set."""
    if not folder.is_dir():
        return "there is no such folder"
    sets = ", ".join(f"'{path.parent}'" for path in sorted(folder.glob(f"*/{NAME}")))
    return f"name one of its sets, {sets}" if sets else "give the folder that pack or export wrote"
