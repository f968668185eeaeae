"""The offset index of a shard: where each video lies in the tar, and the digest of its bytes.

`000000.index.safetensors` lies beside `000000.tar`. It is derived: written with the shard, and made anew when it is
missing, damaged or of another shard, after the shard's own sha256 has been checked against the manifest. Digests are
128-bit xxh3, fifty times as fast as sha256: they tell damage at every first use; against forgery stands the sha256.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from jaxtyping import Int64, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from launch.atomic import whole_file
from launch.digest import sha256_file
from launch.progress import say
from launch.refusal import Refusal
from shards.manifest import Shard
from shards.schema import check_key, key_of, stem_of
from shards.tars.layout import SUFFIX
from shards.tars.walk import walk

FORMAT = "soundsight-index-v1"
DIGEST = 16
"""Bytes of a member's digest."""


@dataclass(frozen=True)
class Index:
    """The videos of one shard in stored order: keys, and the place and digest of each member."""

    keys: tuple[str, ...]
    start: Int64[np.ndarray, " video"]
    """First byte of the payload in the tar."""
    size: Int64[np.ndarray, " video"]
    """Bytes of the payload."""
    digest: UInt8[np.ndarray, "video byte"]
    """xxh3-128 of the payload."""

    def save(self, path: Path, shard: Shard) -> None:
        """Writes the index of a shard, whole or not at all."""
        tensors = self._tensors()
        with whole_file(path) as temporary:
            temporary.write_bytes(save(tensors, {"index": _about(shard, tensors)}))

    @classmethod
    def load(cls, path: Path, shard: Shard) -> "Index | None":
        """The index at a path; None when it is missing, damaged, or of another tar than the manifest's shard.

        Raises Refusal when it was written for this shard and yet does not fit it.
        """
        try:
            with safe_open(path, "np") as file:
                about = (file.metadata() or {}).get("index")
                tensors = {name: file.get_tensor(name) for name in ("digest", "names", "size", "start")}
        except (SafetensorError, OSError):
            return None
        if about != _about(shard, tensors):
            return None
        fault = _misfit(tensors, shard)
        if fault:
            raise Refusal(
                f"An offset index must fit its shard of {shard.videos} videos and {shard.bytes} bytes, but '{path}' "
                f"{fault}: delete it, and it is made anew."
            )
        return cls(_names(tensors["names"]), tensors["start"], tensors["size"], tensors["digest"])

    @classmethod
    def build(cls, tar: Path, shard: Shard, most: int) -> "Index":
        """The index of a tar, from its headers and bytes; a member may have `most` bytes.

        Raises Refusal for another sha256 than the manifest's, for whatever `walk` refuses, for a member that is no
        `<stem>.safetensors` of a valid key, and for another number of videos than the manifest's.
        """
        check_digest(tar, shard)
        members = list(walk(tar, most))
        keys = tuple(key_of_member(tar, member.name) for member in members)
        if len(keys) != shard.videos:
            raise Refusal(
                f"A shard must hold as many videos as its manifest says, but '{tar}' holds {len(keys)} instead of "
                f"{shard.videos}: copy it again, or pack again."
            )
        with tar.open("rb", buffering=0) as file:
            digests = [member_digest(os.pread(file.fileno(), each.size, each.start)) for each in members]
        return cls.of(keys, [each.start for each in members], [each.size for each in members], digests)

    @classmethod
    def of(cls, keys: Sequence[str], start: Sequence[int], size: Sequence[int], digests: Sequence[bytes]) -> "Index":
        """An index from lists, one entry a video."""
        digest = np.frombuffer(b"".join(digests), np.uint8).reshape(len(keys), DIGEST)
        return cls(tuple(keys), np.array(start, np.int64), np.array(size, np.int64), digest)

    def _tensors(self) -> dict[str, np.ndarray]:
        names = np.frombuffer("\n".join(self.keys).encode(), np.uint8)
        return {"digest": self.digest, "names": names, "size": self.size, "start": self.start}


def open_index(tar: Path, shard: Shard, most: int) -> Index:
    """The index of a shard: the one beside its tar, or a new one, written there if the folder lets us."""
    path = tar.parent / index_name(shard.file)
    index = Index.load(path, shard)
    if index is None:
        index = Index.build(tar, shard, most)
        try:
            index.save(path, shard)
            say(f"Made the offset index of '{tar}' anew.")
        except OSError:
            say(f"Made the offset index of '{tar}' anew, in memory only: '{tar.parent}' cannot be written to.")
    return index


def index_name(file: str) -> str:
    """The name of the index that belongs to a shard's file.

    >>> index_name("000000.tar")
    '000000.index.safetensors'
    """
    return f"{file.removesuffix('.tar')}.index{SUFFIX}"


def member_digest(payload: bytes) -> bytes:
    """The digest of a member's bytes."""
    return xxhash.xxh3_128_digest(payload)


def check_digest(tar: Path, shard: Shard) -> None:
    """Raises Refusal unless the tar has the manifest's sha256."""
    found = sha256_file(tar)
    if found != shard.sha256:
        raise Refusal(
            f"A shard must have its manifest's sha256 ({shard.sha256[:12]}…), but '{tar}' has {found[:12]}…: "
            "it was altered since; copy it again, or pack again."
        )


def key_of_member(tar: Path, name: str) -> str:
    """The key that a member's name stands for; raises Refusal for what is no `<stem>.safetensors` of a valid key."""
    stem = name.removesuffix(SUFFIX)
    key = key_of(stem)
    if stem == name or "/" in name:
        raise Refusal(f"A shard's members must be files <stem>{SUFFIX}, but '{tar}' holds {name!r}: pack again.")
    check_key(key, f"'{tar}'")
    if stem_of(key) != stem:
        raise Refusal(
            f"A member's stem must be its key with '%' and '.' escaped ('{stem_of(key)}'), since WebDataset splits "
            f"names at the first dot, but '{tar}' holds {name!r}: rename the member, or pack again."
        )
    return key


def _misfit(tensors: dict[str, np.ndarray], shard: Shard) -> str:
    """What is wrong with the tensors of an index that says it is this shard's; nothing: ""."""
    kinds = {"start": "int64", "size": "int64", "digest": "uint8", "names": "uint8"}
    shapes = {"start": (shard.videos,), "size": (shard.videos,), "digest": (shard.videos, DIGEST)}
    for name, kind in kinds.items():
        found = tensors[name]
        if found.dtype != kind or found.shape != shapes.get(name, found.shape):
            return f"holds {found.dtype} of shape {found.shape} as '{name}'"
    try:
        keys = _names(tensors["names"])
    except UnicodeDecodeError:
        return "holds keys that are not UTF-8"
    if len(keys) != shard.videos:
        return f"lists {len(keys)} keys"
    start, size = tensors["start"], tensors["size"]
    inside = (start >= 0) & (size >= 0) & (size <= shard.bytes) & (start <= shard.bytes - size)
    return "" if inside.all() else f"puts {keys[int(np.argmin(inside))]!r} outside it"


def _names(names: np.ndarray) -> tuple[str, ...]:
    return tuple(names.tobytes().decode().split("\n"))  # a key holds no control character


def _about(shard: Shard, tensors: dict[str, np.ndarray]) -> str:
    """What an index says of itself: of which shard it is, and the digest of its tensors.

    One string, because safetensors writes several in an order that changes from run to run.
    """
    whole = xxhash.xxh3_128()
    for name in sorted(tensors):
        whole.update(tensors[name].tobytes())
    return f"{FORMAT} sha256={shard.sha256} bytes={shard.bytes} content={whole.hexdigest()}"
