"""The store of runs: whether MLflow answers, and in good time."""

import fcntl
import shlex
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

from launch.doctor.finding import Finding, doubtful, failed, fine
from launch.tracking import Tracking
from launch.tracking.address import SERVERS
from launch.tracking.journal import FOLDER, LINES
from launch.tracking.redact import redacted, redacted_address
from launch.tracking.shelf import journals
from launch.tracking.store import Unreachable, connect

ANSWER = 5.0
"""Seconds within which a server answers."""


def check(tracking: Tracking) -> list[Finding]:
    """Whether runs can be recorded; nothing is made where there is no store yet."""
    return [*_store(tracking), *_journals(tracking.root)]


def _store(tracking: Tracking) -> list[Finding]:
    where = redacted_address(tracking.store)
    if tracking.uri.split(":")[0].lower() in SERVERS:
        return [_server(tracking, where)]
    file = tracking.root / "mlflow.db"
    if not tracking.uri and not file.exists():
        return [fine("MLflow", f"a store will be made at {file}")]
    return [_opened(tracking, where)]


def _server(tracking: Tracking, where: str) -> Finding:
    begun = time.monotonic()
    try:
        with urllib.request.urlopen(f"{tracking.store.rstrip('/')}/health", timeout=ANSWER) as answer:
            answer.read(100)
        with urllib.request.urlopen(f"{tracking.store.rstrip('/')}/version", timeout=ANSWER) as answer:
            theirs = answer.read(100).decode(errors="replace").strip()
    except urllib.error.HTTPError as error:
        remedy = "see whether it is an MLflow server, and what stands before it (a proxy, a login)"
        return failed("MLflow", f"{where} answers with {error.code} {error.reason}", remedy)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        remedy = (
            "start it, or correct --tracking.uri; a run goes on without, and `python -m launch sync` sends it later"
        )
        return failed("MLflow", f"{where} does not answer ({_plain(why)})", remedy)
    return _asked(tracking, f"{where}, MLflow {theirs}", begun, theirs)


def _opened(tracking: Tracking, where: str) -> Finding:
    return _asked(tracking, where, time.monotonic(), version("mlflow"))


def _asked(tracking: Tracking, where: str, begun: float, theirs: str) -> Finding:
    """What the store says to a question that every run asks."""
    try:
        client = connect(tracking.store)
        client.search_experiments(max_results=1)
    except Unreachable as error:
        return failed("MLflow", f"{where} cannot be opened ({error})", "correct --tracking.uri or --tracking.root")
    except Exception as error:
        remedy = "see the server's log; a database of another MLflow needs `mlflow db upgrade`"
        return failed("MLflow", f"{where} refuses ({_plain(error)})", remedy)
    seconds, ours = time.monotonic() - begun, version("mlflow")
    if ours.split(".")[0] != theirs.split(".", maxsplit=1)[0]:
        return doubtful("MLflow", f"{where}, and {ours} here", "install the same major version on both")
    return fine("MLflow", f"{where}, answers in {seconds:.1f} s")


def _plain(error: object) -> str:
    text = redacted(" ".join(str(error).split()))
    return (text or type(error).__name__)[:200]


def _journals(root: Path) -> list[Finding]:
    """Runs whose process has ended and which their store does not have whole; nothing where there are none."""
    waiting = [run for run in journals(root) if not _written(root / FOLDER / f"{run}{LINES}")]
    if not waiting:
        return []
    runs = f"{waiting[0]} waits" if len(waiting) == 1 else f"{len(waiting)} runs wait"
    remedy = f"python -m launch sync --root {shlex.quote(str(root))} sends what was not sent, once the store answers"
    return [doubtful("journal", f"{runs} for the store in {root / FOLDER}", remedy)]


def _written(path: Path) -> bool:
    """Whether a process writes this journal now."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):  # or sent and deleted just now
        return True
    return False
