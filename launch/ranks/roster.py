"""Roster: what a command that starts ranks, and the ranks, know of one another: notes on a board.

    stop          there, when the ranks shall write a checkpoint at their next step and leave
    run           the MLflow run that the ranks record themselves in
    <rank>.json   a rank's host and pid and, once it has ended by itself, its exit code and last sentence

Ranks of other launchers have none; they hear of one another through the watch.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from launch.ranks.board import STOP, Board, board_at, folder_opened

ADDRESS = "LAUNCH_ROSTER"
"""The environment variable that tells ranks where their roster is."""


@dataclass(frozen=True)
class Entry:
    """What a rank has written of itself."""

    rank: int
    pid: int
    code: int | None = None
    """Its exit code; None until it has ended by itself, for ever if it was killed."""
    sentence: str = ""
    """What it said at its end."""
    host: str = ""

    def __str__(self) -> str:
        return f"rank {self.rank} (pid {self.pid}{f' on {self.host}' if self.host else ''})"


@dataclass(frozen=True)
class Roster:
    """A board, seen from the command or from a rank."""

    board: Board

    @classmethod
    def of_environment(cls) -> "Roster | None":
        """The roster of the command that started this rank; None for ranks of another launcher and without ranks.

        Raises ChildProcessError when that command, on another host, does not answer.
        """
        address = os.environ.get(ADDRESS)
        return cls(board_at(address)) if address and "RANK" in os.environ else None

    @property
    def variables(self) -> dict[str, str]:
        """What a rank finds in its environment."""
        return {ADDRESS: self.board.address}

    def join(self) -> None:
        """Enters this process."""
        self._write(_this_process())

    def leave(self, code: int, sentence: str) -> None:
        """Notes how this process ends; the last that it has to do with the roster."""
        self._write(replace(_this_process(), code=code, sentence=sentence))
        self.board.leave()

    def entries(self) -> list[Entry]:
        """The ranks that have begun, in their order."""
        found = [Entry(**json.loads(note)) for note in self.board.of_ranks()]
        return sorted(found, key=lambda entry: entry.rank)

    def ask_to_stop(self) -> None:
        """Lets every rank know that it shall stop at its next step."""
        self.board.write(STOP, "")

    def asked_to_stop(self) -> bool:
        """Whether the command wants its ranks to stop."""
        return self.board.read(STOP) is not None

    def abandoned(self) -> bool:
        """Whether the command is gone, even by SIGKILL: nobody would know of the ranks that are left."""
        return self.board.gone()

    def note_run(self, uri: str, run_id: str) -> None:
        """Lets the command know of the MLflow run, which it must end if nobody else can."""
        self.board.write("run", f"{run_id} {uri}")

    def run(self) -> tuple[str, str] | None:
        """Address of the store and id of the MLflow run; None before there is one."""
        noted = self.board.read("run")
        if noted is None:
            return None
        run_id, uri = noted.split(" ", maxsplit=1)
        return uri, run_id

    def _write(self, entry: Entry) -> None:
        self.board.write(f"{entry.rank}.json", json.dumps(asdict(entry)))


@contextmanager
def opened() -> Iterator[Roster]:
    """A roster without ranks on this machine, held by this process; deleted at the end."""
    with folder_opened() as board:
        yield Roster(board)


def _this_process() -> Entry:
    return Entry(int(os.environ["RANK"]), os.getpid(), host=socket.gethostname())
