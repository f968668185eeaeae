"""python -m launch.doctor.links BACKEND SECONDS: one rank of a few, each on a host, that measure what lies between.

Rank, number of ranks and where they meet stand in the environment. Rank 0 prints a `Measured` as JSON. A rank ends by
itself after so many seconds, whatever the others do: nobody may be there to end it.
"""

import json
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import combinations

import torch
import torch.distributed as dist
from torch import Tensor

LARGE = 64 * 2**20
"""Bytes that are sent at the most."""
LONG = 0.25
"""Seconds after which a link is not sent more: a slow one is known by less."""
MEETING = 0.6
"""Share of the time in which ranks meet or say that they could not."""
EVERY_PAIR = 8
"""Hosts up to which every pair is measured; of more, each host with the next."""


@dataclass(frozen=True)
class Link:
    """What lies between two ranks."""

    left: int
    right: int
    latency: float
    """Seconds, one way."""
    bandwidth: float
    """Bytes a second."""


@dataclass(frozen=True)
class Measured:
    """What a few ranks measured."""

    links: tuple[Link, ...]
    reduce_bytes: int
    """Bytes of the array that all ranks added up."""
    reduce_seconds: float
    """How long that took."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Measured":
        """Raises ValueError, KeyError or TypeError for anything else."""
        values = json.loads(line)
        return cls(tuple(Link(**each) for each in values.pop("links")), **values)


def main(backend: str, seconds: float) -> None:
    """Measures with the other ranks; rank 0 prints what was found."""
    signal.setitimer(signal.ITIMER_REAL, seconds)  # the end of the process, as nobody handles SIGALRM
    device = torch.device("cuda", 0) if backend == "nccl" else torch.device("cpu")
    dist.init_process_group(backend, timeout=timedelta(seconds=MEETING * seconds))
    rank, size = dist.get_rank(), dist.get_world_size()
    links = []
    for left, right in _pairs(size):
        dist.barrier()
        if rank in (left, right):
            links.append(_measure(left, right, device))
    dist.barrier()
    reduced = _reduce(device)
    everyone: list[list[Link]] = [[] for _ in range(size)]
    dist.all_gather_object(everyone, [link for link in links if link.left == rank])
    if rank == 0:
        print(Measured(tuple(link for each in everyone for link in each), *reduced).to_json(), flush=True)
    dist.destroy_process_group()


def _pairs(size: int) -> Iterator[tuple[int, int]]:
    if size <= EVERY_PAIR:
        yield from combinations(range(size), 2)
    else:
        yield from ((rank, (rank + 1) % size) for rank in range(size))


def _measure(left: int, right: int, device: torch.device) -> Link:
    """Both ranks call it; the left one's clock counts."""
    sends, other = dist.get_rank() == left, right if dist.get_rank() == left else left
    little, size = torch.zeros(8, dtype=torch.uint8, device=device), 2**20
    trips = [_trip(little, little, sends, other) for _ in range(20)]
    latency = statistics.median(trips) / 2
    while True:
        array = torch.zeros(size, dtype=torch.uint8, device=device)
        taken = _trip(array, little, sends, other)
        enough = torch.tensor([float(taken > LONG or size >= LARGE)], device=device)
        _send(enough, sends, other)
        if enough.item():
            return Link(left, right, latency, size / max(taken - latency, 1e-9))
        size = min(8 * size, LARGE)


def _trip(there: Tensor, back: Tensor, sends: bool, other: int) -> float:
    """The seconds for an array to go and another to come back."""
    begun = time.perf_counter()
    _send(there, sends, other)
    _send(back, not sends, other)
    if there.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _send(array: Tensor, sends: bool, other: int) -> None:
    if sends:
        dist.send(array, other)
    else:
        dist.recv(array, other)


def _reduce(device: torch.device) -> tuple[int, float]:
    """The bytes of an array and the seconds in which all ranks add it up: the best of three, of a size that fits."""
    size, best = 2**20, 0.0
    while True:
        array = torch.zeros(size // 4, device=device)
        times = torch.tensor([_timed(array) for _ in range(3)], dtype=torch.float64, device=device)
        dist.all_reduce(times, op=dist.ReduceOp.MAX)
        best = float(times.min())
        if best > LONG or size >= LARGE:
            return size, best
        size = min(8 * size, LARGE)


def _timed(array: Tensor) -> float:
    begun = time.perf_counter()
    dist.all_reduce(array)
    if array.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begun


if __name__ == "__main__":
    try:
        main(sys.argv[1], float(sys.argv[2]))
    except (RuntimeError, ValueError, OSError) as error:
        where = f"{socket.gethostname()} (meeting at {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')})"
        sys.exit(f"{where}: {' '.join(str(error).split())[:300]}")
