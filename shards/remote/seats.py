"""Who reads from a cache folder: one small file a living reader, held by a lock that the system lets go at its death.

A seat says how far its reader is in the order (its position), which shards it needs there, and how many it may need at
once (its window). Every decision about a cache folder is taken while its one `lock` is held, by looking at the folder
and the seats; there is no other state, so nothing has to be repaired after a `kill -9`.

Locks are `flock`s: they belong to an open file, which a fork shares. A forked process therefore closes its copies at
once, else a dead parent's seat would look taken for as long as a child of it lives, and no fork comes between the
opening of such a file and its being listed.
"""

import fcntl
import json
import math
import os
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SEATS, LOCK = "seats", "lock"
_held: set[int] = set()
"""Descriptors whose locks belong to this process alone."""
_listing = threading.RLock()
"""Reentrant, since a seat that is collected as garbage leaves in the middle of anything."""


@dataclass(frozen=True)
class Claim:
    """What a living reader's seat says, and for how many seconds that reader has neither read nor waited."""

    position: float
    name: str
    needs: frozenset[int]
    window: int
    idle: float


@dataclass(frozen=True)
class Resident:
    """A shard in the folder: when it was last used, and whether it is still being fetched."""

    number: int
    used: float
    busy: bool


def room(
    number: int, residents: Sequence[Resident], readers: Sequence[Claim], patience: float, patient: bool
) -> list[int] | None:
    """The shards that make way for another one, which is not there yet; None if it has to wait.

    `patient` says that its reader has waited long enough to take places from others than the leader.
    """
    most = max(reader.window for reader in readers) + 1
    active = [reader for reader in readers if reader.needs and reader.idle < patience]
    leader = min(active, key=lambda reader: (reader.position, reader.name), default=None)
    reserved = leader.needs if leader else frozenset[int]()
    needed = frozenset[int]().union(*(reader.needs for reader in active))
    outside = sorted((each for each in residents if each.number not in reserved), key=lambda each: each.used)
    excess = len(residents) + 1 - most
    if number not in reserved:
        excess = max(excess, len(outside) + 1 - (most - len(reserved)))
    still = [each.number for each in outside if not each.busy]
    takes_any = patient or number in reserved
    free = [each for each in still if each not in needed] + [each for each in still if takes_any and each in needed]
    return free[: max(excess, 0)] if len(free) >= excess else None


@contextmanager
def deciding(folder: Path) -> Iterator[None]:
    """Inside, no other thread or process decides about this folder; short, never around a fetch."""
    descriptor = _open(folder / LOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        release(descriptor)


def hold(path: Path) -> int | None:
    """A descriptor of a file, made if need be, whose lock is this process's; None when a living process has it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _close(descriptor)
        return None
    return descriptor


def release(descriptor: int) -> None:
    """Lets the lock of a descriptor go, and closes it."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    _close(descriptor)


class Seat:
    """One reader's own seat, taken when it is made."""

    def __init__(self, folder: Path, window: int) -> None:
        self._folder, self._window, self._process = folder, window, os.getpid()
        self._path = folder / SEATS / uuid.uuid4().hex
        self._touched, self._inside = 0.0, 0
        self._left, self._using = False, threading.RLock()
        self._timer: threading.Thread | None = None
        with deciding(folder):
            self._path.parent.mkdir(exist_ok=True)
            descriptor = hold(self._path)
            assert descriptor is not None, "a new name is nobody's"
            self._descriptor = descriptor
            try:
                self._write((), math.inf)
            except OSError:
                self.leave()
                raise

    def publish(self, numbers: Collection[int], position: float) -> None:
        """Says which shards this reader needs, and how far it is; of more than its window, the first."""
        with deciding(self._folder):
            self._write(list(dict.fromkeys(numbers))[: self._window], position if numbers else math.inf)

    def touch(self) -> None:
        """Says that this reader reads or waits at this moment."""
        now = time.monotonic()
        with self._using:
            if now - self._touched > 0.2 and not self._left:
                self._touched = now
                os.utime(self._descriptor)

    @contextmanager
    def reading(self, every: float) -> Iterator[None]:
        """Inside, this reader reads, however long that takes: a thread says so at such times (seconds)."""
        with self._using:
            self._inside += 1
            if self._timer is None:
                self._timer = threading.Thread(target=self._remind, args=(every,), daemon=True)
                self._timer.start()
        try:
            yield
        finally:
            with self._using:
                self._inside -= 1

    def leave(self) -> None:
        """Gives the seat back; nothing in a process that has only inherited it."""
        if os.getpid() != self._process:
            return
        with self._using:
            if not self._left:
                self._left = True
                release(self._descriptor)
                with suppress(OSError):
                    self._path.unlink()

    def _remind(self, every: float) -> None:
        while not self._left:
            time.sleep(every)
            if self._inside:
                with suppress(OSError):
                    self.touch()

    def _write(self, numbers: Sequence[int], position: float) -> None:
        content = json.dumps({"position": position, "needs": list(numbers), "window": self._window}).encode()
        os.pwrite(self._descriptor, content, 0)  # what was there stays if the disk is full
        os.ftruncate(self._descriptor, len(content))


def claims(folder: Path) -> list[Claim]:
    """What the seats of all living readers say; seats of dead ones are removed. Only while `deciding`.

    A reader whose seat cannot be read, because its disk was full, counts as one that needs nothing.
    """
    found = []
    for path in sorted((folder / SEATS).glob("*")):
        descriptor = hold(path)
        if descriptor is not None:
            path.unlink(missing_ok=True)
            release(descriptor)
            continue
        with suppress(FileNotFoundError):  # it left just now
            text, idle = path.read_bytes(), time.time() - path.stat().st_mtime
            try:
                said = json.loads(text)
                claim = Claim(said["position"], path.name, frozenset(said["needs"]), said["window"], idle)
            except (ValueError, KeyError, TypeError):
                claim = Claim(math.inf, path.name, frozenset(), 0, idle)
            found.append(claim)
    return found


def _open(path: Path) -> int:
    with _listing:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _held.add(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    with _listing:
        _held.discard(descriptor)
        os.close(descriptor)


def _let_go() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()
    _listing.release()


os.register_at_fork(before=_listing.acquire, after_in_parent=_listing.release, after_in_child=_let_go)
