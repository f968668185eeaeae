"""Termination: a request to end becomes an exit, so that `finally` blocks run, as those that ask a child to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def terminated_as_exit() -> Iterator[None]:
    """While inside, SIGTERM and SIGHUP raise SystemExit with 128 + their number.

    A stage that handles one of them itself keeps its handler, also one that it sets inside for good.
    """

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    ours = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is leave:
                signal.signal(number, signal.SIG_DFL)
