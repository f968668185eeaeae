"""Supervise: the ranks of a stage under a launcher, from their start to the last of them, and how they ended.

The launcher (deepspeed 0.19.8) ends its ranks one after the other with SIGTERM when one fails, leaves them behind when
it is killed, and reports a launcher that was killed as a success. So the ranks form a session of their own, of which
nothing is left at the end, and an end counts only as what the ranks themselves have noted in their roster.

Over hosts the session holds the connections alone. Asked to end, the launcher there runs `pkill` for every launcher of
the same python on every host, whosever it is: so it is never asked but killed, and the far ranks end by their roster.
"""

import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from launch.preemption import ASKING, Requests
from launch.ranks.connections import Connections, how
from launch.ranks.roster import Roster

FATAL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a run from outside: a scheduler, Ctrl-C, a closed terminal."""
GRACE = 5.0
"""Seconds that the others get to end after a rank has given up."""
PATIENCE = 60.0
"""Seconds that ranks get to end after their launcher was asked to and ended."""
REFUSED, INTERRUPTED, TERMINATED = 2, 130, 128 + signal.SIGTERM


@dataclass(frozen=True)
class End:
    """How a start of the ranks ended."""

    code: int
    death: str = ""
    """A sentence that names who died; empty when they ended, were refused, or stopped as they were asked to."""


class Ranks:
    """One command's ranks; within the `with` block signals to this process are meant for them."""

    def __init__(self, stops: bool) -> None:
        """`stops`: whether the ranks leave at their next step when they are asked to."""
        self._stops, self._told = stops, False
        self.asked = False
        """Whether anybody wanted the ranks to stop."""
        self._child: subprocess.Popen[bytes] | None = None
        self._roster: Roster | None = None
        self._connections: Connections | None = None
        self._handlers: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> "Ranks":
        heard = {*FATAL, *(ASKING if self._stops else ())}
        self._handlers = {number: signal.signal(number, self._hear) for number in heard}
        if any(isinstance(each, Requests) and each.made for each in self._handlers.values()):
            self.asked = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @property
    def told(self) -> bool:
        """Whether they were to end at once."""
        return self._told

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        roster: Roster,
        count: int,
        connections: Connections | None = None,
    ) -> End:
        """Starts `count` ranks by a launcher's command, and returns how they ended; none is left here then.

        `connections`: those that the command makes to other hosts, where the ranks are; they may outlive it there.
        """
        self._roster, self._connections = roster, connections
        if self.asked:
            roster.ask_to_stop()
        ignored = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # its default would end the launcher, not the ranks
        given, heard = (subprocess.DEVNULL, subprocess.PIPE) if connections else (None, None)
        self._child = subprocess.Popen(
            command, env=environment, start_new_session=True, stdin=given, stdout=heard, stderr=heard
        )
        signal.signal(signal.SIGUSR1, ignored)
        if connections and self._child.stdout and self._child.stderr:
            connections.listen(self._child.stdout, self._child.stderr)
        try:
            code = self._wait(self._child, roster)
        finally:
            self._clear_away()
        if connections:
            connections.close()
        return self._verdict(code if code >= 0 else 128 - code, roster, count, connections)

    def _hear(self, number: int, frame: object) -> None:
        """The first request is passed on as one; whatever comes later ends the ranks."""
        if self._stops and number in ASKING and not self.asked:
            self.asked = True
            if self._roster:
                self._roster.ask_to_stop()
        elif number != signal.SIGUSR1:
            self._told = True
            self._send(signal.SIGKILL if self.asked else number)

    def _send(self, number: int) -> None:
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL if self._connections else number)

    def _wait(self, child: "subprocess.Popen[bytes]", roster: Roster) -> int:
        """The launcher's exit code. One that was ended from outside leaves ranks, which then are asked to stop."""
        if self._told:
            self._send(signal.SIGKILL)
        code = _ended(child, roster, self._connections)
        if code == -signal.SIGTERM and not self._told:
            roster.ask_to_stop()
            _wait_until_none(child.pid)
        return code

    def _clear_away(self) -> None:
        assert self._child is not None, "it was started"
        self._send(signal.SIGKILL)
        _wait_until_none(self._child.pid)
        self._child = self._roster = self._connections = None

    def _verdict(self, code: int, roster: Roster, count: int, connections: Connections | None) -> End:
        entries = roster.entries()
        ended = {entry.rank: entry.code for entry in entries if entry.code is not None}
        codes = set(ended.values())
        if len(ended) == count and codes == {0}:
            return End(0)
        second = [TERMINATED] if self._stops else []  # others end so at a first SIGTERM: their launcher's, for a death
        for final in (REFUSED, INTERRUPTED, *second, os.EX_TEMPFAIL):
            if final in codes and (final != os.EX_TEMPFAIL or codes == {final}):
                return End(final)
        if self._told or (self.asked and not entries):
            return End(code or 1)
        said = next((entry.sentence for entry in entries if entry.code and entry.sentence), "")
        silent = [str(entry) for entry in entries if entry.code is None]
        said = said or (connections.lost if connections else "")
        if not said:
            said = f"{', '.join(silent) or 'a rank'} died without a word".capitalize() + f" ({how(code)})."
        return End(code or 1, said)


def _ended(child: "subprocess.Popen[bytes]", roster: Roster, connections: Connections | None) -> int:
    """The launcher's exit code. A rank that is stopped would keep it waiting long after the others have given up."""
    given_up = math.inf
    while child.poll() is None:
        failed = any(entry.code not in (None, 0, os.EX_TEMPFAIL) for entry in roster.entries())
        if failed or (connections and connections.lost):
            given_up = min(given_up, time.monotonic())
        if time.monotonic() > given_up + GRACE:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            child.wait(0.5)
    return child.returncode


def _wait_until_none(group: int) -> None:
    """Waits, though not for ever, until no process of a group is left; those that nobody has buried do not count."""
    end = time.monotonic() + PATIENCE
    while any(_members(group)) and time.monotonic() < end:
        time.sleep(0.1)


def _members(group: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended just now
            state, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                yield int(entry.name)
