"""Files that one process holds as long as it lives: whoever can take one knows that its holder is gone."""

import fcntl
import os
from pathlib import Path

_HELD: set[int] = set()


class Busy(Exception):
    """Another process holds the file."""


def hold(path: Path) -> int:
    """The descriptor of a file that this process holds from now on, to be appended to; it is made if need be.

    Raises Busy, and OSError.
    """
    while True:
        file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(path), os.fstat(file)):
                _HELD.add(file)
                return file
        except BlockingIOError:
            os.close(file)
            raise Busy(str(path)) from None
        except FileNotFoundError:
            pass
        os.close(file)  # its holder deleted it just now


def let_go(file: int) -> None:
    """Closes a file, so that others can hold it."""
    _HELD.discard(file)
    os.close(file)


def _let_go_in_child() -> None:
    """A forked process would hold the files on, and so seem to be their holder after its parent's death."""
    for file in _HELD:
        os.close(file)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go_in_child)
