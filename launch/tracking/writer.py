"""The writer: one thread that carries a journal to the store, so that no store, lost or slow, holds up a step."""

import threading
import time
from collections.abc import Callable

from launch.progress import say
from launch.tracking.delivery import Delivery
from launch.tracking.journal import Journal, Operation
from launch.tracking.store import Unreachable

PAUSE = 0.5
"""Seconds between two sendings, in which points gather."""
LONGEST = 15.0
"""Seconds between two attempts at most, while the store does not answer."""
ALL = 10
"""Times the wait for a silent store that the end of a run waits for one that is busy."""


class Writer:
    """A journal on its way to a store."""

    def __init__(self, journal: Journal, connect: Callable[[], Delivery], store: str) -> None:
        """`connect` may raise Unreachable, and is called again then. `store`: its address as it may be printed."""
        self.journal = journal
        self._connect, self._store = connect, store
        self._delivery: Delivery | None = None
        self._news, self._hurry, self._over = threading.Event(), threading.Event(), threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def put(self, operation: Operation, always: bool = False) -> None:
        """Keeps an operation for the store; returns when it is in the journal."""
        self.journal.append(operation, always)
        self._news.set()

    def lost(self, reason: str) -> None:
        """Says, once for each time it is lost, that the store does not answer."""
        self._failures += 1
        if self._failures == 1:
            say(
                f"The store {self._store} does not answer ({reason}): this run is kept in '{self.journal.path}' until "
                "it does, and work goes on."
            )

    def end(self, status: str, wait: float) -> bool:
        """Keeps how the run ended; whether the store has everything then, as for `drain`."""
        self.journal.end(status)
        return self.drain(wait)

    def drain(self, wait: float) -> bool:
        """Whether the store has everything, after waiting for so many seconds at most in which it takes nothing."""
        self._hurry.set()
        self._news.set()
        moves, start = self._moves(), time.monotonic()
        end = start + wait
        while not self.journal.empty and self._thread.is_alive() and time.monotonic() < end:
            if self._moves() != moves:
                moves, end = self._moves(), min(time.monotonic() + wait, start + ALL * wait)
            time.sleep(0.01)
        self._hurry.clear()
        return self.journal.empty

    def close(self) -> None:
        """Ends the thread, unless it waits for the store: then it ends with the process."""
        self._over.set()
        self._news.set()
        self._hurry.set()
        self._thread.join(1.0)

    def _work(self) -> None:
        while not self._over.is_set():
            self._news.wait(5.0)
            self._news.clear()
            while not self.journal.empty and not self._over.is_set():
                self._hurry.wait(self._pause())
                self._send()

    def _moves(self) -> int:
        return self._delivery.performed if self._delivery else 0

    def _pause(self) -> float:
        return min(PAUSE * 2**self._failures, LONGEST)

    def _send(self) -> None:
        done, operations = 0, self.journal.head()
        try:
            self._delivery = self._delivery or self._connect()
            for count in self._delivery.perform(operations):
                done = count
        except Unreachable as error:
            self.lost(str(error))
            self.journal.sync()
            self._over.wait(0.2)  # also in a hurry
        else:
            self._found()
        finally:
            self.journal.done(done)

    def _found(self) -> None:
        if self._failures:
            self._failures = 0
            say(f"The store {self._store} answers again: what was kept is sent.")
        if self._delivery and self._delivery.refused:
            say(f"The store {self._store} does not take {', '.join(self._delivery.refused[:3])}: it is left out.")
            self.journal.dropped += len(self._delivery.refused)
            self._delivery.refused.clear()
