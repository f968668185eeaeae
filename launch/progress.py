"""Words and bars on the way: one sentence at a time, and a bar on everything that takes longer than a moment."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
QUIET_SECONDS = 10.0
"""Without a terminal a loop reports at most this often (seconds), so a log stays readable."""


def say(sentence: str) -> None:
    """Prints one line on stdout at once; ranks other than 0 stay silent, so nothing is said twice."""
    if _leads():
        print(sentence, flush=True)


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "") -> Iterator[T]:
    """The items, unchanged and in order, while a bar with count, rate and remaining time is shown.

    `total` is taken from `len(items)` when it can be. Without a terminal, sparse plain lines carry the same facts.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if not _leads():
        return iter(items)
    console = Console(file=sys.stdout)
    return _bar(items, what, total, unit, console) if console.is_terminal else _lines(items, what, total, unit)


def _bar(items: Iterable[T], what: str, total: int | None, unit: str, console: Console) -> Iterator[T]:
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate)
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(what, total=total, rate="")
        start = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            progress.update(task, completed=done, rate=_rate(done, time.monotonic() - start, unit))


def _lines(items: Iterable[T], what: str, total: int | None, unit: str) -> Iterator[T]:
    start = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said >= QUIET_SECONDS:
            said = now
            of = f"/{total}" if total else ""
            left = f", {(now - start) / done * (total - done):.0f} s left" if total else ""
            say(f"{what}: {done}{of}, {_rate(done, now - start, unit)}{left}")


def _rate(done: int, seconds: float, unit: str) -> str:
    return f"{done / max(seconds, 1e-9):,.1f} {unit}/s".replace(" /s", "/s")


def _leads() -> bool:
    return os.environ.get("RANK", "0") == "0"
