"""One process's share in a cache folder: it looks for shards there, waits for them, and fetches them."""

import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from launch.refusal import Refusal
from shards.location import join
from shards.manifest import Shard
from shards.remote.fetch import PART, Stopped, fetch_into
from shards.remote.seats import Resident, Seat, claims, deciding, hold, release, room

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
        self._folder.mkdir(parents=True, exist_ok=True)
        self._seat = Seat(self._folder, window)
        self._leaves = weakref.finalize(self, self._seat.leave)
        self._said: tuple[tuple[int, ...], int] = ((), 0)
        self._missing: set[int] = set()
        self._faults: dict[int, Refusal] = {}
        self._threads: list[threading.Thread] = []
        self._stop, self._looked = threading.Event(), 0.0

    def open(self, number: int) -> int:
        """A descriptor of a whole shard."""
        began = time.monotonic()
        while True:
            descriptor = self._present(number)
            if descriptor is None and number in self._faults:
                raise self._faults.pop(number)
            if descriptor is None:
                descriptor = self._fetch(number, patient=time.monotonic() - began > self._patience)
            self._seat.touch()
            self._start()
            if descriptor is not None:
                return descriptor
            time.sleep(POLL)

    def prepare(self, numbers: tuple[int, ...], position: int) -> None:
        """Publishes what is needed, and starts to fetch it."""
        if (numbers, position) != self._said:
            self._said, self._looked = (numbers, position), 0.0
            self._missing = set(numbers[: self._window])
            self._faults = {number: fault for number, fault in self._faults.items() if number in self._missing}
            self._seat.publish(numbers, position)
        self._seat.touch()
        self._start()

    def close(self) -> None:
        """Leaves; a thread that is at a block gives up after it."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=1)
        self._leaves()

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
                descriptor = None if number in self._faults else self._fetch(number, patient=False)
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
        """A descriptor of a shard that is there; it counts as used now."""
        try:
            descriptor = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if os.fstat(descriptor).st_size != self._shards[number].bytes:  # altered by somebody else: fetched anew
            os.close(descriptor)
            with deciding(self._folder):
                self._path(number).unlink(missing_ok=True)
            return None
        os.utime(descriptor)
        return descriptor

    def _fetch(self, number: int, patient: bool) -> int | None:
        """Fetches a shard, if there is a place and nobody else does or did; a descriptor of it."""
        part = self._claim(number, patient)
        if part is None:
            return None
        path, shard = self._path(number), self._shards[number]
        temporary = path.with_name(path.name + PART)
        try:
            fetch_into(
                join(self._location, shard.file), part, shard.bytes, shard.sha256, self._tries, self._stop.is_set
            )
            with deciding(self._folder):
                os.replace(temporary, path)
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            temporary.unlink(missing_ok=True)  # still ours: its lock is
            raise
        finally:
            release(part)

    def _claim(self, number: int, patient: bool) -> int | None:
        """A locked descriptor of the file into which this process alone fetches a shard."""
        with deciding(self._folder):
            residents = list(self._residents())
            if any(each.number == number for each in residents):
                return None
            victims = room(number, residents, claims(self._folder), self._patience, patient)
            if victims is None:
                return None
            for victim in victims:
                self._path(victim).unlink(missing_ok=True)
            return hold(self._path(number).with_name(self._shards[number].file + PART))

    def _residents(self) -> Iterator[Resident]:
        """The shards in the folder; what a dead process was fetching is removed. Only while `deciding`."""
        for entry in list(os.scandir(self._folder)):
            number = self._numbers.get(entry.name.removesuffix(PART))
            if number is None:
                continue
            if not entry.name.endswith(PART):
                yield Resident(number, entry.stat().st_mtime, busy=False)
            elif (descriptor := hold(Path(entry.path))) is None:
                yield Resident(number, time.time(), busy=True)
            else:
                os.unlink(entry.path)
                release(descriptor)
