"""The journal of a run: every operation is a line of JSON on the disk before the store hears of it.

    <root>/journal/<id>.jsonl     the operations in their order; locked by the process that writes it, while it lives
    <root>/journal/<id>.sent      how many bytes of them the store has, and as which run
    <root>/journal/<id>.files/    copies of files that the store does not have yet

Lines are in the kernel's hands when `append` returns, so that no death of the process loses one; while the store does
not answer they are put on the disk (fsync) again and again. Where the disk is full they wait in memory, and beyond a
bound they are dropped and counted. When the store has everything, and the run has ended, the files are deleted.
"""

import errno
import json
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from launch.progress import say
from launch.tracking.files import Files
from launch.tracking.held import hold, let_go

FOLDER, LINES, SENT, FILES = "journal", ".jsonl", ".sent", ".files"
BOUND = 10_000
"""Operations that wait in memory at most while the journal cannot be written."""
COMPACT = 16 * 2**20
"""Bytes after which a journal that the store has all of begins anew."""

Operation = dict[str, Any]


class Journal:
    """One run's journal, open and locked. Any thread may append; one sends."""

    def __init__(self, root: Path, run_id: str) -> None:
        """Opens what an earlier process left, or begins anew; raises Busy while another has it, and OSError."""
        self.path = root / FOLDER / f"{run_id}{LINES}"
        self.run_id = run_id
        self.files = Files(self.path.with_suffix(FILES))
        self.dropped = 0
        """Points, and other operations, that were lost since neither disk nor memory had room."""
        self._memory: deque[str] = deque()
        self._guard = threading.RLock()
        self._told = self._dirty = self.closed = False
        self.ended = False
        """Whether it says how the run ended, and no process has begun since."""
        self._from_memory = 0
        self._ends: list[int] = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = hold(self.path)
        self._size = 0
        first = self._mend()
        known = first | noted(self.path)
        self._sent = min(int(known.get("bytes", 0)), self._size)
        self.target, self.store, self.host = (str(known.get(name, "")) for name in ("run", "store", "host"))
        """Which run of the store it is, or "" if there is none yet; which store; and where its last process was."""

    @property
    def empty(self) -> bool:
        """Whether the store has everything."""
        with self._guard:
            return self._sent == self._size and not self._memory

    @property
    def left(self) -> int:
        """Operations that the store does not have."""
        with self._guard:
            return len(self._unsent()) + len(self._memory)

    @property
    def unwritten(self) -> int:
        """Operations that are in memory alone."""
        return len(self._memory)

    def begin(self, operation: Operation) -> None:
        """Keeps the first operation of a process, which says where it is and for which store."""
        self.store, self.host, self.ended = operation["store"], operation["host"], False
        self.append(operation, always=True)
        self._note()

    def end(self, status: str, unless_ended: bool = False) -> None:
        """Keeps how the run ended, always; `unless_ended`: it does not count where the store knows already."""
        guess = {"unless_ended": True} if unless_ended else {}
        operation = {"do": "end", "status": status, "time": time.time_ns() // 1_000_000, **guess}
        self.append(operation, always=True)
        self.ended = True

    def append(self, operation: Operation, always: bool = False) -> None:
        """Keeps an operation; one that is `always` kept has room in memory, whatever the bound."""
        line = json.dumps(operation, separators=(",", ":")) + "\n"
        with self._guard:
            if self._memory and not self._from_memory:
                self._empty_memory()
            if self._memory or not self._write(line):
                self._remember(line, operation, always)

    def head(self, most: int = 1000, size: int = 2**19) -> list[Operation]:
        """The first operations that the store does not have, at most so many of about so many bytes.

        `done` is to follow, before the next.
        """
        with self._guard:
            lines = self._unsent(size)[:most]
            self._ends = list(accumulate(map(len, lines), initial=self._sent))
            if not lines:
                lines = [line.encode() for line in islice(self._memory, most)]
                self._from_memory = len(lines)
        return [parsed(line) for line in lines]

    def done(self, count: int) -> None:
        """Notes that the store has the first `count` operations of the last `head`."""
        with self._guard:
            if self._from_memory:
                for _ in range(count):
                    self._memory.popleft()
            else:
                self._sent = self._ends[count]
            self._from_memory = 0
        if count:
            self._note()
            self._compact()

    def became(self, target: str) -> None:
        """Notes which run of the store this is."""
        self.target = target
        self._note()

    def sync(self) -> None:
        """Waits until the lines are on the disk."""
        if self._dirty:
            self._dirty = False
            with suppress(OSError):
                os.fsync(self._file)

    def close(self, delete: bool) -> None:
        """Gives the journal free for others; deleted when the store has everything and the run has ended."""
        with self._guard:
            self.sync()
            self.closed = True
            if delete:
                self.files.delete()
                for suffix in (SENT, LINES):
                    self.path.with_suffix(suffix).unlink(missing_ok=True)
            let_go(self._file)
            self._file = -1  # a thread that waited for the store meanwhile must not write into another file

    def _write(self, line: str) -> bool:
        content = line.encode()
        try:
            written = os.write(self._file, content)
        except OSError as error:
            self._tell(error.strerror or str(error))
            return False
        if written < len(content):  # a full disk takes the beginning of a line
            os.ftruncate(self._file, self._size)
            self._tell(os.strerror(errno.ENOSPC))
            return False
        self._size += written
        self._dirty = True
        return True

    def _empty_memory(self) -> None:
        while self._memory and self._write(self._memory[0]):
            self._memory.popleft()

    def _remember(self, line: str, operation: Operation, always: bool) -> None:
        if len(self._memory) < BOUND or always:
            self._memory.append(line)
        else:
            self.dropped += len(operation.get("values", "1"))

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            say(
                f"The journal '{self.path}' cannot be written ({reason}): points wait in memory for the store, at most "
                f"{BOUND:,} operations, and work goes on; make room on its disk."
            )

    def _unsent(self, size: int = -1) -> list[bytes]:
        """Whole lines from the first that is not sent."""
        with self.path.open("rb") as file:
            file.seek(self._sent)
            return file.readlines(size)

    def _compact(self) -> None:
        with self._guard:
            if not self.closed and self.empty and self._size > COMPACT:
                self._sent = 0
                self._note()  # first: were the process to die in between, all would be sent again, and found there
                os.ftruncate(self._file, 0)
                self._size = 0

    def _mend(self) -> Operation:
        """The first operation. Half a line at the end, which a machine without power can leave, is cut off."""
        content = self.path.read_bytes()
        self._size = content.rfind(b"\n") + 1
        if self._size < len(content):
            os.ftruncate(self._file, self._size)
        lines = content[: self._size].splitlines()
        self.ended = is_end(lines)
        return parsed(lines[0]) if lines else {}

    def _note(self) -> None:
        """Without it, as on a full disk, more is sent again than needed, and found to be there."""
        if self.closed:
            return
        beside = self.path.with_suffix(f"{SENT}.new")
        with suppress(OSError):
            told = {"bytes": self._sent, "run": self.target, "store": self.store, "host": self.host}
            beside.write_text(json.dumps(told))
            os.replace(beside, self.path.with_suffix(SENT))


def noted(path: Path) -> dict[str, Any]:
    """What is noted beside a journal; nothing where there is no note."""
    try:
        return dict(json.loads(path.with_suffix(SENT).read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def is_end(lines: Sequence[bytes]) -> bool:
    """Whether lines say how the run ended, after the last that says that a process began."""
    begin, end = b'{"do":"begin"', b'{"do":"end"'
    return next((line.startswith(end) for line in reversed(lines) if line.startswith((begin, end))), False)


def parsed(line: bytes) -> Operation:
    """The operation of a line; one that cannot be read says so."""
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        return {"do": "unreadable"}
