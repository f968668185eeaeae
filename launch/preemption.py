"""Preemption: a run that is asked to stop writes a checkpoint at its next step, and says so with its exit code.

SIGTERM and SIGUSR1 ask, to the command or to any rank, also while it still starts. A second SIGTERM, or Ctrl-C, ends
at once.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from launch.ranks.roster import Roster
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


class Requests:
    """A handler of signals that notes when it was asked to stop, and leaves at a second SIGTERM."""

    def __init__(self) -> None:
        self._times: list[float] = []

    @property
    def made(self) -> bool:
        """Whether there was any."""
        return bool(self._times)

    def __call__(self, number: int, frame: object) -> None:
        if number == signal.SIGTERM and self.made and time.monotonic() - self._times[0] > AGAIN:
            raise SystemExit(128 + number)
        self._times.append(time.monotonic())


@contextmanager
def listening() -> Iterator[Requests]:
    """The requests to stop that reach this process; inside another `listening` those that reached that one."""
    current = signal.getsignal(signal.SIGTERM)
    if isinstance(current, Requests):
        yield current
        return
    requests = Requests()
    handlers = {number: signal.signal(number, requests) for number in ASKING}
    try:
        yield requests
    finally:
        for number, handler in handlers.items():  # once asked, a second SIGTERM may still be on its way
            signal.signal(number, signal.SIG_IGN if requests.made else handler)


@contextmanager
def preemption(world: World) -> Iterator[Callable[[], bool]]:
    """A function that tells, on every rank alike, whether the run is to stop. Collective: call it once a step."""
    roster = Roster.of_environment()
    with listening() as requests:

        def asked_to_stop() -> bool:
            mine = requests.made or (roster is not None and roster.asked_to_stop())
            asked = torch.tensor(float(mine), device=world.device)
            dist.all_reduce(asked)
            return bool(asked)

        yield asked_to_stop


def outlive_a_request() -> None:
    """Lets a rank's helper process live on when everybody is asked to stop, so that the rank can finish its step.

    The rank ends it; where it cannot, a second SIGTERM does.
    """
    requests = Requests()
    for number in ASKING:
        signal.signal(number, requests)
