"""Preemption: a run that is asked to stop writes a checkpoint at its next step, and says so with its exit code.

SIGTERM and SIGUSR1 ask, to the command or to any rank. A second SIGTERM, or Ctrl-C, ends at once.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from launch.roster import Roster
from launch.world import World

ASKING = (signal.SIGTERM, signal.SIGUSR1)
AGAIN = 3.0
"""Seconds after which another SIGTERM is a second one: a scheduler and a launcher may send one each."""


class Stopped(SystemExit):
    """A run was asked to stop, and stopped: its checkpoint is written, and the same command goes on from there.

    The exit code is EX_TEMPFAIL, so that a scheduler can tell it from an end and from a failure.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(os.EX_TEMPFAIL)
        self.sentence = sentence


@contextmanager
def preemption(world: World) -> Iterator[Callable[[], bool]]:
    """A function that tells, on every rank alike, whether the run is to stop. Collective: call it once a step."""
    roster, first = Roster.of_environment(), list[float]()

    def asked_to_stop() -> bool:
        asked = torch.tensor(float(bool(first) or (roster is not None and roster.asked_to_stop())), device=world.device)
        dist.all_reduce(asked)
        return bool(asked)

    handlers = {number: signal.signal(number, _noting(first)) for number in ASKING}
    try:
        yield asked_to_stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_IGN if first else handler)  # its second SIGTERM may still be on its way


def outlive_a_request() -> None:
    """Lets a rank's helper process live on when everybody is asked to stop, so that the rank can finish its step.

    The rank ends it; where it cannot, a second SIGTERM does.
    """
    signal.signal(signal.SIGTERM, _noting([]))


def _noting(times: list[float]) -> Callable[[int, object], None]:
    """A handler that notes when it was called, and leaves at a second SIGTERM."""

    def note(number: int, frame: object) -> None:
        if number == signal.SIGTERM and times and time.monotonic() - times[0] > AGAIN:
            raise SystemExit(128 + number)
        times.append(time.monotonic())

    return note
