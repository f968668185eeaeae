"""The banner: what a run is about to do, on which machines, in a few aligned lines, before it does anything long."""

import os
import platform
import socket
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from launch.pace import Pace
from launch.progress import say
from launch.world import World

T = TypeVar("T")
WIDTH = 100
"""Columns of a banner; longer facts go on in the next line."""
MEASURED = 10
"""Items after the first by which the time of all is foretold."""
WORTH_TELLING = 60.0
"""Seconds of work that are left, at the least, for their end to be foretold."""


@dataclass(frozen=True)
class Machines:
    """The hosts of a world and what works on them, in the order of ranks."""

    hosts: tuple[str, ...]
    processes: tuple[int, ...]
    """On each host."""
    gpu: str
    """What the GPU of rank 0 is called; empty: the processes run on CPUs."""

    @classmethod
    def of(cls, world: World) -> "Machines":
        """Those of a world. Collective."""
        names = [socket.gethostname()]
        if world.size > 1:
            names = [""] * world.size
            dist.all_gather_object(names, socket.gethostname())
        hosts = tuple(dict.fromkeys(names))
        gpu = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else ""
        return cls(hosts, tuple(names.count(host) for host in hosts), gpu)

    @property
    def product(self) -> str:
        """How many there are: '2 hosts × 4 GPUs', or '6 GPUs on 2 hosts' where the hosts differ."""
        total, hosts = sum(self.processes), _counted(len(self.hosts), "host")
        kind = "GPU" if self.gpu else "process"
        if len(set(self.processes)) > 1:
            return f"{_counted(total, kind)} on {hosts}"
        return f"{hosts} × {_counted(self.processes[0], kind)}"

    def words(self) -> str:
        """How many there are, of which kind, and what the hosts are called."""
        threads = _counted(torch.get_num_threads(), "thread")
        kind = self.gpu or f"CPU {platform.machine()}, {_counted(os.cpu_count() or 1, 'core')}, {threads} each"
        shown = ", ".join(self.hosts[:8]) + (f" and {len(self.hosts) - 8} more" if len(self.hosts) > 8 else "")
        return f"{self.product} ({kind}): {shown}"

    def share(self, batch: int, unit: str, at_a_time: int | None = None) -> str:
        """How a global batch is made up: '256 videos = 2 hosts × 4 GPUs × 32'.

        `at_a_time`: how many of its part a rank takes at a time, if not all.
        """
        ranks = sum(self.processes)
        each, whole = -(-batch // ranks), batch % ranks == 0
        made = f"{batch:,} {unit}"
        if ranks > 1:
            made += f" = {self.product} × {each}" if whole else f" on {self.product}"
        parts = "" if whole else f", at most {each} each"
        if at_a_time and at_a_time < each:
            parts += f", {at_a_time} at a time in {-(-each // at_a_time)} parts that add up to one step"
        return made + parts


def banner(title: str, facts: Mapping[str, str]) -> str:
    """The title and a line a fact, their names in one column; a fact that is empty is left out."""
    told = {name: fact for name, fact in facts.items() if fact}
    column = max(map(len, told), default=0) + 2
    lines = [title]
    for name, fact in told.items():
        indent = " " * (column + 2)
        lines += textwrap.wrap(fact, WIDTH, initial_indent=f"  {name:{column}}", subsequent_indent=indent)
    return "\n".join(lines)


def foretold(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    """The items, unchanged; after a few it is said once how long the rest takes, if that is worth telling."""
    pace = Pace()
    for done, item in enumerate(items, start=1):
        yield item
        pace.reached(done)
        if done == MEASURED + 1 and pace.each and (total - done) * pace.each >= WORTH_TELLING:
            end = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + (total - done) * pace.each))
            say(
                f"{what}: {total - done:,} {unit} are left and take about {pace.left(total)}, until {end}, at the pace "
                f"of the last {MEASURED} ({pace.rate(unit)}); what happens only now and then comes on top."
            )


def amount(number: float, unit: str = "") -> str:
    """A number in words of three digits: '87.4 M', '1.23 P'."""
    for size, sign in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g} {sign}{unit}"
    return f"{number:.3g} {unit}".rstrip()


def gib(size: float) -> str:
    """Bytes in words: '3.2 GiB', '45 MiB'."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _counted(count: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
