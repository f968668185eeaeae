"""Board: where a command and its ranks leave notes for one another.

On one machine it is a private folder. Over hosts it is served by the command (a TCPStore of torch, which moves bytes
and unpickles nothing); a rank talks to it in a thread of its own, since one that lost its network would wait for ever.
"""

import contextlib
import fcntl
import os
import queue
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Protocol

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from launch.atomic import whole_file

SCHEME = "tcp://"
STOP = "stop"
TICK = 0.5
"""Seconds between two looks of a far rank at the command's board."""
SILENCE = 15.0
"""Seconds without an answer after which a rank takes the command for gone."""
CONNECT = 30.0
"""Seconds within which the command answers a rank that begins."""
BOUND = 5.0
"""Seconds that a far rank waits until a note is written; longer ones are lost with the network."""
LAST = 10.0
"""Seconds after which a rank whose command is gone ends, if nothing else has ended it: it may not be at work yet."""
GONE = "The command that started the ranks is gone."


class Board(Protocol):
    """Notes by name."""

    @property
    def address(self) -> str:
        """What tells a rank where the board is."""

    def write(self, name: str, text: str) -> None:
        """Hangs up a note, in place of one of that name."""

    def read(self, name: str) -> str | None:
        """A note; None before there is one."""

    def of_ranks(self) -> list[str]:
        """The notes `<rank>.json`, in any order."""

    def gone(self) -> bool:
        """Whether the command is gone, even by SIGKILL."""

    def leave(self) -> None:
        """Reads and writes no more: the process ends."""


class Folder:
    """A board that is a folder of this machine, whose `lock` the command holds for as long as it lives."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def address(self) -> str:
        return str(self.path)

    def write(self, name: str, text: str) -> None:
        with whole_file(self.path / name) as temporary:
            temporary.write_text(text)

    def read(self, name: str) -> str | None:
        note = self.path / name
        return note.read_text() if note.exists() else None

    def of_ranks(self) -> list[str]:
        return [note.read_text() for note in self.path.glob("*.json")]

    def gone(self) -> bool:
        try:
            with (self.path / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            return True
        return True

    def leave(self) -> None:
        """Nothing is held open."""


class Served:
    """A board that this process, the command, serves to ranks on other hosts; it ends with the process."""

    def __init__(self, host: str, ranks: int) -> None:
        """`host`: the address of this machine that the other hosts know."""
        self._ranks = ranks
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it warns of hosts whose address has no name
        self._store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        self._address = f"{SCHEME}{host}:{self._store.port}"

    @property
    def address(self) -> str:
        return self._address

    def write(self, name: str, text: str) -> None:
        self._store.set(name, text)

    def read(self, name: str) -> str | None:
        return self._store.get(name).decode() if self._store.check([name]) else None

    def of_ranks(self) -> list[str]:
        notes = (self.read(f"{rank}.json") for rank in range(self._ranks))
        return [note for note in notes if note is not None]

    def gone(self) -> bool:
        return False

    def leave(self) -> None:
        """Ends the service: every rank that is left finds its command gone."""
        del self._store


class Far:
    """A rank's view of a board that is served elsewhere: what it writes arrives or is given up in bounded time."""

    def __init__(self, address: str) -> None:
        """Raises ChildProcessError when nobody serves there."""
        self._address, self._stop, self._over, self._left = address, False, False, False
        host, _, port = address.removeprefix(SCHEME).rpartition(":")
        try:
            socket.create_connection((host, int(port)), CONNECT).close()  # torch would try again for a minute and more
            self._store = TCPStore(
                host, int(port), is_master=False, wait_for_workers=False, timeout=timedelta(seconds=CONNECT)
            )
        except (OSError, RuntimeError) as error:
            raise ChildProcessError(
                f"A rank must reach the command that started it, but at {address} nobody answers ({error}): let the "
                "hosts reach that address, or start the command on one of them."
            ) from None
        self._answered = time.monotonic()
        self._notes: queue.Queue[tuple[str, str, threading.Event]] = queue.Queue()
        self._talker = threading.Thread(target=self._talk, daemon=True)
        self._talker.start()
        threading.Thread(target=self._guard, daemon=True).start()

    @property
    def address(self) -> str:
        return self._address

    def write(self, name: str, text: str) -> None:
        written = threading.Event()
        self._notes.put((name, text, written))
        written.wait(BOUND)

    def read(self, name: str) -> str | None:
        return "" if name == STOP and self._stop else None  # a rank reads nothing else

    def of_ranks(self) -> list[str]:
        return []

    def gone(self) -> bool:
        return self._over or time.monotonic() - self._answered > SILENCE

    def leave(self) -> None:
        """Ends the thread: were it inside torch when python ends, the process would abort."""
        self._left = True
        self._talker.join(BOUND)

    def _talk(self) -> None:
        """All that passes over the network; it may hang where that is down."""
        try:
            while not self._left:
                with contextlib.suppress(queue.Empty):
                    name, text, written = self._notes.get(timeout=TICK)
                    self._store.set(name, text)
                    written.set()
                self._stop = self._stop or self._store.check([STOP])
                self._answered = time.monotonic()
        except RuntimeError:
            self._over = True

    def _guard(self) -> None:
        """Ends a process that is not under a watch yet, or no more."""
        while not self.gone():
            if self._left:
                return
            time.sleep(TICK)
        time.sleep(LAST)
        print(f"Failed: {GONE}", file=sys.stderr, flush=True)
        os._exit(1)


@cache
def board_at(address: str) -> Board:
    """The board of that address, seen from a rank; the same one each time."""
    return Far(address) if address.startswith(SCHEME) else Folder(Path(address))


@contextmanager
def folder_opened() -> Iterator[Folder]:
    """An empty board of this machine, held by this process; deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder, Path(folder, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Folder(Path(folder))


@contextmanager
def served(host: str, ranks: int) -> Iterator[Served]:
    """An empty board for ranks on other hosts, served until the end."""
    board = Served(host, ranks)
    try:
        yield board
    finally:
        board.leave()
