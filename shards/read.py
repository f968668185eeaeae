"""Reading a shard set: at random through an index and mmap, or in stored order through webdataset.

The only file that imports webdataset. Nothing is ever decoded by it (its decoders unpickle): a member's bytes go to
safetensors, and any member that is not `<stem>.safetensors` is refused.
"""

import mmap
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from launch.digest import sha256_file
from launch.refusal import Refusal
from shards.manifest import NAME, Manifest, Shard
from shards.schema import SECONDS, Video, check_features, key_of
from shards.write import SUFFIX

os.environ.setdefault("WDS_SECURE", "1")  # read by webdataset when it is imported: no shell, no unpickling
from webdataset.tariterators import group_by_keys, tar_file_expander


@dataclass(frozen=True)
class Member:
    """Where a video lies: the shard's number, the first byte of its payload and its length in bytes."""

    key: str
    shard: int
    start: int
    size: int


@dataclass(frozen=True)
class Shards:
    """An opened shard set: `len`, `keys`, `read(index)`, `batch(indices, names)`, `stream()`."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> "Shards":
        """The shard set in a folder.

        Raises Refusal when the manifest is missing or of another version, or a shard is missing or of another size.
        """
        manifest = Manifest.read(folder)
        for shard in manifest.shards:
            _check_size(folder / shard.file, shard)
        return cls(folder, manifest)

    def __len__(self) -> int:
        return self.manifest.videos

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """Every video's place in its tar, in stored order; checks each shard's sha256 and walks its headers, once."""
        for shard in self.manifest.shards:
            _check_digest(self.folder / shard.file, shard)
        found = [
            member
            for number, shard in enumerate(self.manifest.shards)
            for member in _index(self.folder / shard.file, shard, number)
        ]
        doubled = [key for key, count in Counter(member.key for member in found).items() if count > 1]
        if doubled:
            raise Refusal(
                f"A key must be unique in a shard set, but '{doubled[0]}' is twice in '{self.folder}': pack again."
            )
        return tuple(found)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The videos' keys in stored order."""
        return tuple(member.key for member in self.members)

    @cached_property
    def _maps(self) -> list[mmap.mmap]:
        maps = []
        for shard in self.manifest.shards:
            with (self.folder / shard.file).open("rb") as file:
                maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return maps

    def read(self, index: int) -> Video:
        """The video at a place in the stored order."""
        member = self.members[index]
        payload = self._maps[member.shard][member.start : member.start + member.size]
        return self._video(member.key, payload, self.manifest.shards[member.shard].file)

    def batch(self, indices: Sequence[int] | np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The named features of several videos: name → (video, second, width), in the order asked for.

        No index gives arrays of zero videos. Raises Refusal for a name that the set does not hold.
        """
        for name in names:
            self.check_feature(name)
        videos = [self.read(int(index)) for index in indices]
        return {name: self._stack(name, videos) for name in names}

    def stream(self) -> Iterator[Video]:
        """Every video in stored order, read sequentially; sha256 and count of each shard are checked."""
        for shard in self.manifest.shards:
            _check_digest(self.folder / shard.file, shard)
            count = 0
            for stem, payload in _samples(self.folder / shard.file):
                yield self._video(key_of(stem), payload, shard.file)
                count += 1
            if count != shard.videos:
                raise Refusal(_miscounted(self.folder / shard.file, shard, count))

    def check_feature(self, name: str) -> None:
        """Raises Refusal, naming the features there are, when the set does not hold this one."""
        if name not in self.manifest.features:
            raise Refusal(
                f"A feature must be in the shard set, but '{name}' is not in '{self.folder}', which holds "
                f"{', '.join(self.manifest.features)}: name one of these, or pack that feature."
            )

    def _stack(self, name: str, videos: Sequence[Video]) -> np.ndarray:
        feature = self.manifest.features[name]
        rows = [video.features[name] for video in videos]
        return np.stack(rows) if rows else np.zeros((0, SECONDS, feature.width), feature.dtype)

    def _video(self, key: str, payload: bytes, file: str) -> Video:
        try:
            video = Video(key, load(payload))
        except (SafetensorError, ValueError) as error:
            raise Refusal(
                f"A member must be a safetensors file, but '{key}' in '{self.folder / file}' is damaged ({error}): "
                "pack again, or copy the shard again."
            ) from None
        check_features(video, self.manifest.features)
        return video


def open_sets(folder: Path) -> dict[str, Shards]:
    """The shard sets of a folder by name: itself as "" when it holds a manifest, else each subfolder that does."""
    if (folder / NAME).exists():
        return {"": Shards.open(folder)}
    found = {path.parent.name: Shards.open(path.parent) for path in sorted(folder.glob(f"*/{NAME}"))}
    if not found:
        raise Refusal(
            f"A folder of shards must hold {NAME}, or subfolders that do, but '{folder}' does not: "
            "give the folder that pack or export wrote."
        )
    return found


def _check_size(path: Path, shard: Shard) -> None:
    if not path.is_file():
        raise Refusal(
            f"Every shard of the manifest must be there, but '{path}' is missing: copy it again, or pack again."
        )
    if path.stat().st_size != shard.bytes:
        raise Refusal(
            f"A shard must have its manifest's size, but '{path}' has {path.stat().st_size} bytes instead of "
            f"{shard.bytes}: copy it again, or pack again."
        )


def _check_digest(path: Path, shard: Shard) -> None:
    found = sha256_file(path)
    if found != shard.sha256:
        raise Refusal(
            f"A shard must have its manifest's sha256 ({shard.sha256[:12]}…), but '{path}' has {found[:12]}…: "
            "it was altered since; copy it again, or pack again."
        )


def _index(path: Path, shard: Shard, number: int) -> list[Member]:
    members = []
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                _check_member(path, info.name, info.isfile())
                key = key_of(info.name.removesuffix(SUFFIX))
                members.append(Member(key, number, info.offset_data, info.size))
    except tarfile.TarError as error:
        raise Refusal(_damaged(path, error)) from None
    if len(members) != shard.videos:
        raise Refusal(_miscounted(path, shard, len(members)))
    return members


def _check_member(path: Path, name: str, is_file: bool = True) -> None:
    if not is_file or not name.endswith(SUFFIX) or "/" in name:
        raise Refusal(f"A shard's members must be files <stem>{SUFFIX}, but '{path}' holds '{name}': pack again.")


def _samples(path: Path) -> Iterator[tuple[str, bytes]]:
    """Pairs (stem, payload) of one tar, grouped into samples by webdataset.

    The file is opened here, so webdataset's own opener (which knows `pipe:` and rewriting) has no part in it.
    """
    try:
        with path.open("rb") as file:
            members = tar_file_expander([{"url": str(path), "stream": file}])
            for sample in group_by_keys(members):
                content = {name: value for name, value in sample.items() if not name.startswith("__")}
                if set(content) != {SUFFIX[1:]}:
                    _check_member(path, f"{sample['__key__']}.{next(iter(content))}")
                yield sample["__key__"], content[SUFFIX[1:]]
    except (tarfile.TarError, ValueError) as error:  # webdataset's word for a doubled member
        raise Refusal(_damaged(path, error)) from None


def _damaged(path: Path, error: Exception) -> str:
    return f"A shard must be a whole tar, but '{path}' is damaged ({error.args[0]}): copy it again, or pack again."


def _miscounted(path: Path, shard: Shard, found: int) -> str:
    return (
        f"A shard must hold as many videos as its manifest says, but '{path}' holds {found} instead of {shard.videos}: "
        "copy it again, or pack again."
    )
