"""Locks that processes of one machine hold on a piece of work; they end with the last process that holds them."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.progress import say


@contextmanager
def held(path: Path, what: str, wait: bool = True) -> Iterator[int | None]:
    """The descriptor of the locked file at `path`, which is made if need be.

    Where another process holds it: waits, which is said once of `what`, or gives None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield None
                return
            say(f"Another process is at work on {what}: waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
