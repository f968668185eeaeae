"""Roster: what a command that starts ranks, and the ranks, know of one another: a private folder on their machine.

    lock          held by the command for as long as it lives
    stop          there, when the ranks shall write a checkpoint at their next step and leave
    run           the MLflow run that the ranks record themselves in
    <rank>.json   a rank's pid and, once it has ended by itself, its exit code and last sentence

Ranks of other launchers have none; they hear of one another through the watch.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from launch.atomic import whole_file

FOLDER = "LAUNCH_ROSTER"
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


@dataclass(frozen=True)
class Roster:
    """The folder, seen from the command or from a rank."""

    folder: Path

    @classmethod
    def of_environment(cls) -> "Roster | None":
        """The roster of the command that started this rank; None for ranks of another launcher and without ranks."""
        folder = os.environ.get(FOLDER)
        return cls(Path(folder)) if folder and "RANK" in os.environ else None

    def join(self) -> None:
        """Enters this process."""
        self._write(Entry(int(os.environ["RANK"]), os.getpid()))

    def leave(self, code: int, sentence: str) -> None:
        """Notes how this process ends."""
        self._write(replace(Entry(int(os.environ["RANK"]), os.getpid()), code=code, sentence=sentence))

    def entries(self) -> list[Entry]:
        """The ranks that have begun, in their order."""
        found = [Entry(**json.loads(path.read_text())) for path in self.folder.glob("*.json")]
        return sorted(found, key=lambda entry: entry.rank)

    def ask_to_stop(self) -> None:
        """Lets every rank know that it shall stop at its next step."""
        (self.folder / "stop").touch()

    def asked_to_stop(self) -> bool:
        """Whether the command wants its ranks to stop."""
        return (self.folder / "stop").exists()

    def abandoned(self) -> bool:
        """Whether the command is gone, even by SIGKILL: nobody would know of the ranks that are left."""
        try:
            with (self.folder / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            return True
        return True

    def note_run(self, uri: str, run_id: str) -> None:
        """Lets the command know of the MLflow run, which it must end if nobody else can."""
        with whole_file(self.folder / "run") as temporary:
            temporary.write_text(f"{run_id} {uri}")

    def run(self) -> tuple[str, str] | None:
        """Address of the store and id of the MLflow run; None before there is one."""
        noted = self.folder / "run"
        if not noted.exists():
            return None
        run_id, uri = noted.read_text().split(" ", maxsplit=1)
        return uri, run_id

    def _write(self, entry: Entry) -> None:
        with whole_file(self.folder / f"{entry.rank}.json") as temporary:
            temporary.write_text(json.dumps(asdict(entry)))


@contextmanager
def opened() -> Iterator[Roster]:
    """A roster without ranks, held by this process; deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder, Path(folder, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Roster(Path(folder))
