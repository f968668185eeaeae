"""What a cache folder keeps: whole shards, those being fetched, and notes of whose bytes were checked.

A reader arrives by taking a seat, under one lock in the cache's root. It then removes the shards of sets that nobody
reads; and the first reader of a set forgets the notes of earlier runs, so that each run checks a kept shard once.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from shards.manifest import Shard
from shards.remote.fetch import PART
from shards.remote.seats import LOCK, SEATS, Resident, Seat, claims, deciding, hold, release
from shards.tars.index import index_name

CHECKED = ".checked"
"""Ends the name of a note, which stands beside `000000.tar` as `000000.checked`."""
FOLDER = re.compile("[0-9a-f]{64}")
"""The name of a set's folder."""
_BLOCK = 4 << 20
_OURS = (".tar", CHECKED, index_name(".tar"))
Mark = tuple[int, int, int]
"""A file as it was found: its inode, its bytes, and when it was changed (ns)."""


def arrive(folder: Path, window: int) -> Seat:
    """A seat in a set's folder, which is made if need be."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with deciding(folder.parent):
        folder.mkdir(exist_ok=True)
        with deciding(folder):
            if not claims(folder):
                for note in folder.glob(f"*{CHECKED}"):
                    note.unlink(missing_ok=True)
        seat = Seat(folder, window)
        for entry in list(os.scandir(folder.parent)):
            if FOLDER.fullmatch(entry.name) and entry.name != folder.name and (Path(entry.path) / SEATS).is_dir():
                with suppress(OSError):  # it may be another user's, and is in nobody's way then
                    _clear(Path(entry.path))
    return seat


def residents(folder: Path, numbers: Mapping[str, int]) -> Iterator[Resident]:
    """The shards in a folder; what a dead process was fetching is removed. Only while `deciding`."""
    for entry in list(os.scandir(folder)):
        number = numbers.get(entry.name.removesuffix(PART))
        if number is None:
            continue
        if not entry.name.endswith(PART):
            yield Resident(number, entry.stat().st_atime, busy=False)
        elif not _removed(Path(entry.path)):
            yield Resident(number, time.time(), busy=True)


def drop(path: Path) -> None:
    """Removes a shard and its note. Only while `deciding`."""
    path.unlink(missing_ok=True)
    path.with_suffix(CHECKED).unlink(missing_ok=True)


def use(descriptor: int) -> Mark:
    """Says that an open shard is used now, by its time of access; its time of change stays, and so does its mark."""
    status = os.fstat(descriptor)
    os.utime(descriptor, ns=(time.time_ns(), status.st_mtime_ns))
    return status.st_ino, status.st_size, status.st_mtime_ns


def is_checked(descriptor: int, path: Path, shard: Shard, mark: Mark, alive: Callable[[], None]) -> bool:
    """Whether an open shard has its manifest's size and sha256, by its note or else by its bytes.

    `alive` is called after each block that is read.
    """
    if mark[1] != shard.bytes:
        return False
    with suppress(OSError):
        if path.with_suffix(CHECKED).read_text() == str(mark):
            return True
    digest = hashlib.sha256()
    for start in range(0, shard.bytes, _BLOCK):
        digest.update(os.pread(descriptor, _BLOCK, start))
        alive()
    if digest.hexdigest() != shard.sha256:
        return False
    note(path, mark)
    return True


def note(path: Path, mark: Mark) -> None:
    """Notes that the shard at a path was checked when it had this mark; half a note is none."""
    with suppress(OSError):  # it only spares work
        path.with_suffix(CHECKED).write_text(str(mark))


def _clear(folder: Path) -> None:
    """Removes the shards of a set that no living reader has a seat in, and their indexes and notes."""
    lock = hold(folder / LOCK)
    if lock is None:  # somebody decides there, so it is in use
        return
    try:
        if claims(folder):
            return
        for entry in list(os.scandir(folder)):
            if entry.name.endswith(PART):
                _removed(Path(entry.path))
            elif entry.name.endswith(_OURS):
                os.unlink(entry.path)
    finally:
        release(lock)


def _removed(part: Path) -> bool:
    """Whether nobody fetches into this file any more; then it is gone."""
    descriptor = hold(part)
    if descriptor is None:
        return False
    part.unlink(missing_ok=True)  # a fetch that failed may just have removed it itself
    release(descriptor)
    return True
