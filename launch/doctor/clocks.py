"""Clocks: how far those of other hosts are from one another, measured against the time that a question takes."""

import math
import select
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from launch.doctor.finding import Finding, doubtful, failed, fine
from launch.launchers.hostfile import Host
from launch.launchers.ssh import OPTIONS
from launch.ranks.agreement import CLOCKS

NEAR = 0.5
"""Seconds apart from which clocks are doubtful; NTP keeps them within milliseconds."""
ASKED = 6
"""Times a host is asked; the quickest answer counts."""
TELL = "import sys, time\nfor _ in sys.stdin: print(time.time(), flush=True)"
REMEDY = "set it by NTP: chronyc tracking, timedatectl set-ntp true"


@dataclass(frozen=True)
class Offset:
    """A clock against this machine's."""

    seconds: float
    """It is so far ahead."""
    error: float
    """Half the time that the question took: it may be off by so much."""


def check(hosts: Sequence[Host], seconds: float) -> dict[str, list[Finding]]:
    """What is to be said of each host's clock, by its name; nothing of one that did not answer in so many seconds."""
    with ThreadPoolExecutor(min(64, len(hosts))) as pool:
        answers = pool.map(lambda host: ask(host, seconds), hosts)
        offsets = {host.name: offset for host, offset in zip(hosts, answers, strict=True) if offset}
    return {name: [finding] for name, finding in judge(offsets).items()}


def judge(offsets: Mapping[str, Offset]) -> dict[str, Finding]:
    """Each clock against the middle one of all, this machine's among them."""
    middle = statistics.median([0.0, *(each.seconds for each in offsets.values())])
    return {name: _told(each.seconds - middle, each.error) for name, each in offsets.items()}


def ask(host: Host, seconds: float) -> Offset | None:
    """The offset of a host's clock; None where it gives no answer in time."""
    words = ["ssh", *OPTIONS, host.name, f"exec {shlex.quote(sys.executable)} -c {shlex.quote(TELL)}"]
    end, found = time.monotonic() + seconds, list[Offset]()
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0) as process:
        try:
            while len(found) < ASKED and (offset := _once(process, end)):
                found.append(offset)
        finally:
            process.kill()
    later = found[1:] or found  # the first answer waits for ssh and for python
    return min(later, key=lambda each: each.error, default=None)


def _once(process: "subprocess.Popen[bytes]", end: float) -> Offset | None:
    assert process.stdin, "stdin is a pipe"
    assert process.stdout, "stdout is a pipe"
    before = time.time()
    try:
        process.stdin.write(b"\n")
        answered = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0]
        theirs = float(process.stdout.readline()) if answered else math.nan
    except (OSError, ValueError):
        return None
    after = time.time()
    if math.isnan(theirs):
        return None
    return Offset(theirs - (before + after) / 2, (after - before) / 2)


def _told(apart: float, error: float) -> Finding:
    certain = abs(apart) - error
    if certain <= NEAR:
        bound = next(each for each in (0.001, 0.01, 0.1, 1.0, 10.0, math.inf) if abs(apart) + error <= each)
        return fine("clock", f"within {bound * 1000:g} ms of the others" if bound < 10 else "as near as can be told")
    found = f"{abs(apart):,.1f} s {'ahead of' if apart > 0 else 'behind'} the others (± {max(error, 0.001):.1g} s)"
    if certain > CLOCKS:
        return failed("clock", found, f"{REMEDY}; runs refuse clocks more than {CLOCKS:g} s apart")
    return doubtful("clock", found, REMEDY)
