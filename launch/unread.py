"""Unread: that nobody reads any more what is said, as behind `| head`, is an end like others and not a fault."""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNREAD = 141
"""The exit code then, as a shell knows it: 128 + SIGPIPE."""


def is_unread(error: BaseException) -> bool:
    """Whether an error comes of it that the reader of stdout has left."""
    if not isinstance(error, BrokenPipeError):
        return False
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (io.UnsupportedOperation, ValueError, OSError):
        return False
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


@contextmanager
def unread_in_silence() -> Iterator[None]:
    """Exits quietly where nobody reads any more what is said, also at the end, when python says what is left."""
    try:
        yield
    except BrokenPipeError as error:
        if not is_unread(error):
            raise
        sys.exit(UNREAD)
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
