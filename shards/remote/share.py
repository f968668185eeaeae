"""One process's share in a cache folder: it looks for shards there, waits for them, and fetches them."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from launch.progress import say
from launch.refusal import Refusal
from shards.location import join
from shards.manifest import Shard
from shards.remote.fetch import PART, Stopped, fetch_into
from shards.remote.kept import Mark, arrive, drop, is_checked, note, residents, use
from shards.remote.seats import claims, deciding, hold, release, room

PATIENCE = 20.0
"""Seconds after which a reader may take any place that the leader does not need, and after which an idle one loses
the lead."""
POLL = 0.02
"""Seconds between two looks of a reader that waits."""


class Share:
    """What one process does in the folder. Its threads end with the fetch they are at."""

    def __init__(
        self,
        folder: Path,
        location: str,
        shards: Sequence[Shard],
        window: int,
        tries: int,
        connections: int,
        patience: float,
    ) -> None:
        self.process = os.getpid()
        self._folder, self._location, self._shards = folder, location, shards
        self._window, self._tries, self._connections, self._patience = window, tries, connections, patience
        self._numbers = {shard.file: number for number, shard in enumerate(self._shards)}
        self.seat = arrive(self._folder, window)
        self._said: tuple[tuple[int, ...], int] = ((), 0)
        self._missing: set[int] = set()
        self._faults: dict[int, Refusal] = {}
        self._checked: dict[int, Mark] = {}
        self._threads: list[threading.Thread] = []
        self._stop, self._looked = threading.Event(), 0.0

    def open(self, number: int) -> int:
        """A descriptor of a whole shard."""
        began = time.monotonic()
        while True:
            descriptor = self._present(number)
            if descriptor is None and (fault := self._faults.pop(number, None)):
                raise fault
            if descriptor is None:
                patient = time.monotonic() - began > self._patience
                descriptor = self._fetch(number, patient, self._waits)
            self.seat.touch()
            self._start()
            if descriptor is not None:
                return descriptor
            time.sleep(POLL)

    def prepare(self, numbers: tuple[int, ...], position: int) -> None:
        """Publishes what is needed, and starts to fetch it."""
        if (numbers, position) != self._said:
            self._said, self._looked = (numbers, position), 0.0
            self._missing = set(numbers[: self._window])
            for number in set(self._faults) - self._missing:  # a copy: a thread may add one meanwhile
                self._faults.pop(number, None)
            self.seat.publish(numbers, position)
        self.seat.touch()
        self._start()

    def close(self) -> None:
        """Leaves; a thread that is at a block gives up after it. Nothing in a process that has only inherited this."""
        if os.getpid() == self.process:
            self._stop.set()
            self.seat.leave()

    def _waits(self) -> bool:
        """False: whoever asks for a shard and fetches it himself is not called off, and does not look idle."""
        self.seat.touch()
        return False

    def _start(self) -> None:
        """Starts threads for what is needed and not there, unless it looked just now."""
        now = time.monotonic()
        if self._missing and now - self._looked > 10 * POLL:
            self._looked = now
            self._missing = {number for number in self._missing if not self._path(number).exists()}
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            for _ in range(min(self._connections - len(self._threads), len(self._missing))):
                thread = threading.Thread(target=self._background, args=(self._said,), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _background(self, said: tuple[tuple[int, ...], int]) -> None:
        for number in said[0][: self._window]:
            if self._stop.is_set() or self._said is not said:
                return
            try:
                descriptor = None if number in self._faults else self._fetch(number, False, self._stop.is_set)
            except Refusal as refusal:
                self._faults[number] = refusal  # told when the shard is asked for
            except (Stopped, OSError):
                return
            else:
                if descriptor is not None:
                    os.close(descriptor)

    def _path(self, number: int) -> Path:
        return self._folder / self._shards[number].file

    def _present(self, number: int) -> int | None:
        """A descriptor of a shard that is there; it counts as used now. A damaged one is removed."""
        path, shard = self._path(number), self._shards[number]
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        mark = use(descriptor)
        if self._checked.get(number) == mark or is_checked(descriptor, path, shard, mark, self.seat.touch):
            self._checked[number] = mark
            return descriptor
        with deciding(self._folder), suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):  # nobody has fetched it anew meanwhile
                drop(path)
                say(f"Fetching '{shard.file}' anew: the copy in '{self._folder}' was altered since it was fetched.")
        os.close(descriptor)
        return None

    def _fetch(self, number: int, patient: bool, stopped: Callable[[], bool]) -> int | None:
        """Fetches a shard, if there is a place and nobody else does or did; a descriptor of it."""
        part = self._claim(number, patient)
        if part is None:
            return None
        path, shard = self._path(number), self._shards[number]
        temporary = path.with_name(path.name + PART)
        try:
            fetch_into(join(self._location, shard.file), part, shard.bytes, shard.sha256, self._tries, stopped)
            with deciding(self._folder):
                os.replace(temporary, path)
                note(path, use(part))
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            temporary.unlink(missing_ok=True)  # still ours: its lock is
            raise
        finally:
            release(part)

    def _claim(self, number: int, patient: bool) -> int | None:
        """A locked descriptor of the file into which this process alone fetches a shard."""
        with deciding(self._folder):
            here = list(residents(self._folder, self._numbers))
            if self._stop.is_set() or any(each.number == number for each in here):
                return None
            victims = room(number, here, claims(self._folder), self._patience, patient)
            if victims is None:
                return None
            for victim in victims:
                drop(self._path(victim))
            return hold(self._path(number).with_name(self._shards[number].file + PART))
