"""Stages one after the other, each its own process and the very command that a user would type."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from launch.progress import say
from launch.termination import terminated_as_exit
from launch.tracking.redact import redacted

PATIENCE = 60.0
"""Seconds that a stage gets to write down where it is, once the command that started it is to end."""
OWN = (1, 2)
"""Exit codes of a stage that failed, and of one that refused its inputs."""


class Failed(SystemExit):
    """A stage refused its inputs or failed by itself; nobody asked it to stop. The exit code is the stage's."""

    def __init__(self, stage: str, code: int) -> None:
        super().__init__(code)
        self.sentence = f"{stage} ended with exit code {code}"


def words(**settings: object) -> list[str]:
    """Settings as words of a command line: `--name value` each."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def run(stage: str, arguments: Sequence[str], holds: Sequence[int] = ()) -> float:
    """The seconds that one stage took as its own process, shown as the command it is.

    Its failure ends this process with its exit code: `Failed` where it is the stage's own (`OWN`), else SystemExit, as
    for a stage that was asked to stop or was killed. Whatever ends this process asks the stage to stop, and waits.
    `holds`: descriptors, as of a lock, that the stage keeps as long as it lives.
    """
    say(redacted(f"\n$ python -m launch {shlex.join([stage, *arguments])}"))
    start = time.monotonic()
    command = [sys.executable, "-m", "launch", stage, *arguments]
    with terminated_as_exit(), subprocess.Popen(command, pass_fds=holds) as process:
        try:
            code = process.wait()
        except BaseException:
            _end(process)
            raise
    if code:
        say(f"The stage '{stage}' ended with exit code {code}; what it said above is the reason.")
        raise Failed(stage, code) if code in OWN else SystemExit(code if code > 0 else 128 - code)
    seconds = time.monotonic() - start
    say(f"({stage}: {seconds:.0f} s)")
    return seconds


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Asks a process to stop; kills it where it does not in time, or where this process is asked again."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
    except BaseException:
        process.kill()
        raise
