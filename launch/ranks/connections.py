"""Connections: what pdsh says of the hosts it is connected to, passed on as it comes."""

import os
import re
import signal
import sys
import threading
from contextlib import suppress
from typing import IO, TextIO

_CHATTER = re.compile(r"^\S+: \[.*\] \[(INFO|ERROR)\] \[launch.py:")
"""What the launcher on every host says of itself, and of ranks whose end the command tells better."""
_ENDED = re.compile(r"^pdsh@\S+: (\S+): ssh (?:exited with exit code (\d+)|killed by signal (\d+))")
PATIENCE = 5.0
"""Seconds to wait for the last words of a launcher that has ended."""


class Connections:
    """One launcher's connections, read in a thread of their own."""

    def __init__(self) -> None:
        self._ended: dict[str, int] = {}
        self._threads: list[threading.Thread] = []

    def listen(self, out: IO[bytes], err: IO[bytes]) -> None:
        """Passes on what comes, until its end, and remembers which host's connection ended, and how."""
        self._threads = [
            threading.Thread(target=self._pass_on, args=streams, daemon=True)
            for streams in ((out, sys.stdout), (err, sys.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Waits until all that came is passed on, though not for ever: somebody may hold the streams open."""
        for thread in self._threads:
            thread.join(PATIENCE)

    @property
    def lost(self) -> str:
        """A sentence that names the first host whose ranks' launcher failed; empty while none has.

        One that stopped as it was asked to has not failed.
        """
        for host, code in list(self._ended.items()):
            if code not in (0, os.EX_TEMPFAIL):
                why = "the connection was lost" if code == 255 else how(code)
                return f"The launcher on {host} ended ({why})."
        return ""

    def _pass_on(self, stream: IO[bytes], to: TextIO) -> None:
        """Reads to the end even where nothing can be written: ranks would wait for ever in a pipe that is full."""
        for line in stream:
            text = line.decode(errors="replace")
            if found := _ENDED.match(text):
                self._ended[found[1]] = int(found[2]) if found[2] else 128 + int(found[3])
            elif not _CHATTER.match(text):
                with suppress(OSError, ValueError):  # a full disk, or a reader that is gone
                    to.write(text)
                    to.flush()


def how(code: int) -> str:
    """What a launcher's exit code says of the signal that ended its first rank, or itself."""
    for number in (256 - code, code - 128):
        with suppress(ValueError):
            return signal.Signals(number).name
    return f"exit code {code}"
