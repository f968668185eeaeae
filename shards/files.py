"""Where the tars of a shard set are: in a local folder (here), or fetched into a cache (`shards.remote.cache`)."""

import os
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from launch.refusal import Refusal
from shards.manifest import Manifest, Shard
from shards.tars.index import Index, open_index


class Files(Protocol):
    """The tars of a set by number, whole and checked."""

    at_once: int
    """How many tars may be open at the same time."""

    @contextmanager
    def opened(self, number: int) -> Iterator[tuple[int, Path]]:
        """A file descriptor to read a tar at any offset, and what to call it; may wait until it is there."""

    def index(self, number: int) -> Index:
        """The offset index of a tar."""

    def prepare(self, numbers: Collection[int], position: int) -> None:
        """Tells which tars this reader needs from now on, and how far in the order it is."""


class Folder:
    """The tars of a local folder. Raises Refusal at once for one that is missing or of another size."""

    at_once = 64
    """Descriptors are kept open, but of so many tars only: a set can have thousands."""

    def __init__(self, folder: Path, manifest: Manifest, most: int) -> None:
        self._folder, self._shards, self._most = folder, manifest.shards, most
        self._descriptors: OrderedDict[int, int] = OrderedDict()
        for shard in manifest.shards:
            path = folder / shard.file
            check_size(path, path.stat().st_size if path.is_file() else None, shard)

    @contextmanager
    def opened(self, number: int) -> Iterator[tuple[int, Path]]:
        """A descriptor of a tar; the least recently used ones are closed."""
        path = self._folder / self._shards[number].file
        if number not in self._descriptors:
            self._descriptors[number] = _open(path, self._shards[number])
        self._descriptors.move_to_end(number)
        while len(self._descriptors) > self.at_once:
            os.close(self._descriptors.popitem(last=False)[1])
        yield self._descriptors[number], path

    def index(self, number: int) -> Index:
        """The index beside a tar, made anew where it is missing or stale."""
        shard = self._shards[number]
        return open_index(self._folder / shard.file, shard, self._most)

    def prepare(self, numbers: Collection[int], position: int) -> None:
        """Nothing: every tar is here."""

    def __del__(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


def check_size(path: Path | str, found: int | None, shard: Shard) -> None:
    """Raises Refusal for a tar that is missing (None) or has another size than its manifest says."""
    if found is None:
        raise Refusal(
            f"Every shard of the manifest must be there, but '{path}' is missing: copy it again, or pack again."
        )
    if found != shard.bytes:
        raise Refusal(
            f"A shard must have its manifest's size, but '{path}' has {found} bytes instead of {shard.bytes}: "
            "copy it again, or pack again."
        )


def _open(path: Path, shard: Shard) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        check_size(path, None, shard)
        raise
    check_size(path, os.fstat(descriptor).st_size, shard)
    return descriptor
