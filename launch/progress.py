"""Words and bars on the way: one sentence at a time, and a bar on everything that takes longer than a moment."""

import contextlib
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from launch.pace import Pace, duration
from launch.place import read_place
from launch.refusal import Refusal

T = TypeVar("T")
QUIET_SECONDS = 10.0
"""Without a terminal a loop reports at most this often (seconds), and ever more seldom, so a log stays readable."""
QUIET_SHARE = 1 / 50
"""Of the time a loop has taken, before it reports again: some 150 lines in the first hour …"""
QUIET_AT_MOST = 600.0
"""… and then one in ten minutes."""
NARROW = 70
"""Columns of a terminal below which numbers alone are shown, without a bar."""

_logs: list[TextIO] = []
"""The file that this process writes along, if it does."""
_shown: list[Progress] = []
"""The bars on the terminal, if there are any: a loop inside a loop adds its bar to them."""


def say(sentence: str) -> None:
    """Prints one line on stdout at once; ranks other than 0 stay silent, so nothing is said twice.

    Every rank that was told to `keep_log` writes it down as well.
    """
    for log in _logs:
        _write(log, sentence)
    if _leads():
        print(sentence, flush=True)


def keep_log(folder: Path | None) -> None:
    """From now on writes what this process says, whichever rank it is, into a file of its own in a folder (None: no).

    The file is called by host and rank; every line begins with the time. Raises Refusal where none can be written.
    """
    while _logs:
        _logs.pop().close()
    if folder is None:
        return
    path = folder / f"{socket.gethostname()}.rank{read_place()[0]}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _logs.append(path.open("a", encoding="utf-8"))
    except OSError as error:
        raise Refusal(
            f"The folder for logs must be one to write to, but '{path}' cannot be opened ({error.strerror}): give "
            "another, or none."
        ) from None


def speak_any_encoding() -> None:
    """Lets stdout and stderr show '?' for what their encoding does not have, where python would end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "") -> Iterator[T]:
    """The items, unchanged and in order, while a bar with count, rate and remaining time is shown.

    `total` is taken from `len(items)` when it can be. Without a terminal, and in logs, sparse plain lines carry the
    same facts.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if not _leads() and not _logs:
        return iter(items)
    console = Console(file=sys.stdout)
    if _leads() and console.is_terminal:
        return _bar(items, what, total, unit, console)
    return _lines(items, what, total, unit)


def _bar(items: Iterable[T], what: str, total: int | None, unit: str, console: Console) -> Iterator[T]:
    pace, said = Pace(), 0.0
    with _bars(console) as progress:
        task = progress.add_task(what, total=total, facts="")
        try:
            for done, item in enumerate(items, start=1):
                yield item
                pace.reached(done)
                progress.update(task, completed=done, facts=_facts(pace, total, unit))
                if _logs and pace.elapsed - said >= _quiet(pace):
                    said = pace.elapsed
                    _write(_logs[0], _line(pace, what, done, total, unit))
        finally:
            if progress.tasks[0].id != task:  # one inside another is not left standing when it is done
                progress.remove_task(task)


@contextlib.contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    """The bars that stand already, else new ones that are as wide as the terminal, one line a loop."""
    if _shown:
        yield _shown[0]
        return
    widest = min(30, console.width // 3)
    name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=widest))
    bar = BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4))
    facts = TextColumn("{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True))
    count, elapsed = MofNCompleteColumn(), TimeElapsedColumn()
    columns = (name, bar, count, elapsed, facts) if console.width >= NARROW else (name, count, facts)
    with Progress(*columns, console=console, expand=True) as progress:
        _shown.append(progress)
        try:
            yield progress
        finally:
            _shown.remove(progress)


def _lines(items: Iterable[T], what: str, total: int | None, unit: str) -> Iterator[T]:
    pace, said, done = Pace(), 0.0, 0
    for done, item in enumerate(items, start=1):
        yield item
        pace.reached(done)
        if pace.elapsed - said >= _quiet(pace) and done != total:
            said = pace.elapsed
            say(_line(pace, what, done, total, unit))
    if pace.elapsed >= QUIET_SECONDS:
        say(f"{what}: {_count(done, total)} done in {duration(pace.elapsed)}, {pace.rate(unit)}")


def _quiet(pace: Pace) -> float:
    return max(QUIET_SECONDS, min(QUIET_SHARE * pace.elapsed, QUIET_AT_MOST))


def _line(pace: Pace, what: str, done: int, total: int | None, unit: str) -> str:
    return f"{what}: {_count(done, total)}, {_facts(pace, total, unit)}"


def _facts(pace: Pace, total: int | None, unit: str) -> str:
    left = pace.left(total)
    return f"{pace.rate(unit)}, {left} left" if left else pace.rate(unit)


def _count(done: int, total: int | None) -> str:
    return f"{done}/{total}" if total else str(done)


def _write(log: TextIO, line: str) -> None:
    """Adds a line to a log, or gives the log up: a full disk ends no run for the sake of its log."""
    try:
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        log.flush()
    except OSError as error:
        _logs.clear()
        with contextlib.suppress(OSError):
            log.close()
        print(f"The log '{log.name}' ends here: {error.strerror}.", file=sys.stderr, flush=True)


def _leads() -> bool:
    """Whether this is rank 0, or a process that no launcher started."""
    try:
        return read_place()[0] == 0
    except Refusal:
        return True  # whoever reads its place next is told
