"""Checks that always end: each in a process of its own, with a time; one that hangs or crashes is a failed line.

A file system that does not answer holds whoever asks it for ever, and a broken driver ends the process that loads it.
"""

import faulthandler
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from launch.doctor.finding import Check, Finding, failed

REPORT = "look at what this machine's log says of it (dmesg), and try what the line names by hand"


def examine(checks: Mapping[str, Check], seconds: float) -> list[Finding]:
    """What all checks found, in their order; they run at once, and each has so many seconds."""
    begun = {name: _Running.begin(check) for name, check in checks.items()}
    end = time.monotonic() + seconds
    return [finding for name, running in begun.items() for finding in running.end(name, end, seconds)]


@dataclass
class _Running:
    """A check in its process."""

    pid: int
    answers: int
    """The end of a pipe."""

    @classmethod
    def begin(cls, check: Check) -> "_Running":
        answers, told = os.pipe()
        pid = os.fork()
        if pid:
            os.close(told)
            return cls(pid, answers)
        _answer(check, told)
        raise AssertionError("a check's process goes no further")

    def end(self, name: str, end: float, seconds: float) -> list[Finding]:
        """What it found, waiting for it to some time of the clock."""
        said, closed = b"", False
        while not closed and select.select([self.answers], [], [], max(0.0, end - time.monotonic()))[0]:
            part = os.read(self.answers, 65536)
            said, closed = said + part, not part
        os.close(self.answers)
        if not closed:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, os.WNOHANG)  # who waits for a dead disk cannot be killed: nobody waits for him
            return [failed(name, f"no answer within {seconds:g} s", f"{REPORT}; a slow machine needs --patience")]
        _, status = os.waitpid(self.pid, 0)
        if not said:
            ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {status >> 8}"
            return [failed(name, f"the check's process died ({ended})", REPORT)]
        answer = json.loads(said)
        if isinstance(answer, str):
            return [failed(name, f"the check broke down: {answer}", REPORT)]
        return [Finding(**each) for each in answer]


def _answer(check: Check, told: int) -> None:
    """Makes a check in this process, which ends here; what libraries print is nobody's to read."""
    try:
        nowhere = open(os.devnull, "r+")  # noqa: SIM115  # it closes with the process
        for stream in (0, 1, 2):
            os.dup2(nowhere.fileno(), stream)
        sys.stdout = sys.stderr = nowhere
        faulthandler.disable()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        try:
            answer = json.dumps([asdict(finding) for finding in check()])
        except BaseException as error:
            answer = json.dumps(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        with open(told, "w", encoding="utf-8") as stream_out:
            stream_out.write(answer)
    finally:
        os._exit(0)
