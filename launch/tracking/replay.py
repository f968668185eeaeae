"""Replay: what earlier processes left in the journals of a run root is sent, and runs whose process is gone are ended.

A process that was killed could not say how its run ended. It held the run's journal locked; one that nobody holds, and
that does not say how the run ended, is of such a process on this machine, and its run failed. A lock of another machine
may not be seen here: what is of one there, or meant for another store, is only read, and stays.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launch.tracking.delivery import Delivery
from launch.tracking.held import Busy
from launch.tracking.journal import Journal
from launch.tracking.shelf import Owner, journals, owner
from launch.tracking.store import NotYet, Unreachable, connect


@dataclass
class Replayed:
    """What became of the journals of a root."""

    runs: int = 0
    """How many are wholly in their store now."""
    operations: int = 0
    """How many operations they held that were not there before."""
    left: int = 0
    """How many operations are still not there."""
    reason: str = ""
    """Why."""
    silent: bool = False
    """Whether the store does not answer."""
    refused: tuple[str, ...] = ()
    """What the store would not take."""
    busy: int = 0
    """How many are of processes that live."""
    elsewhere: int = 0
    """How many are of processes on other machines, which may live."""


def replay(
    root: Path,
    store: str,
    only: str = "",
    status: str = "FAILED",
    seconds: float = 10.0,
    others: bool = False,
    strays: bool = False,
) -> Replayed:
    """Sends what is left under a root for one store, and ends runs whose process is gone with a status.

    `only`: of one run. After so many seconds, and once the store does not answer, no more is sent. `others`: also of
    processes on other machines, whose death cannot be seen from here. `strays`: also runs that were meant for another
    store, and never reached it.
    """
    found, end = Replayed(), time.monotonic() + seconds
    for run_id in [each for each in journals(root) if only in ("", each)]:
        whose = owner(root, run_id)
        if whose is None or not _is_meant(whose, store, strays):
            continue
        if not (others or whose.ended or whose.host in ("", socket.gethostname())):
            found.elsewhere += 1
            continue
        try:
            journal = Journal(root, run_id)
        except Busy:
            found.busy += 1
            continue
        if not journal.ended:
            journal.end(status, unless_ended=True)
        _send(journal, root, store, found, lambda: found.silent or time.monotonic() > end)
        journal.close(delete=journal.ended and journal.empty)
    return found


def _is_meant(whose: Owner, store: str, strays: bool) -> bool:
    return whose.store in ("", store) or (strays and not whose.target)


def _send(journal: Journal, root: Path, store: str, found: Replayed, enough: Callable[[], bool]) -> None:
    before = journal.left
    try:
        delivery = Delivery(connect(store), journal, root, live=False) if not enough() else None
        while delivery and not journal.empty and not enough():
            done, operations = 0, journal.head()
            try:
                for count in delivery.perform(operations):
                    done = count
            finally:
                journal.done(done)
        found.refused += tuple(delivery.refused if delivery else ())
    except NotYet as error:
        found.reason = str(error)
    except Unreachable as error:
        found.reason, found.silent = str(error), True
    found.runs += journal.empty
    found.operations += before - journal.left
    found.left += journal.left
