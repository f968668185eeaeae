"""Videos of several open tars, read together into the rows of a batch by a few threads."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shards.tars.layout import Layout
from shards.tars.member import Members, Target

LEAST = 32
"""Videos for which a thread is worth its start."""


class Job(NamedTuple):
    """Videos of one open tar that are to be read: their places in it, and the rows of the batch where they go."""

    members: Members
    descriptor: int
    path: Path
    places: list[int]
    rows: list[int]


class Together:
    """Reads jobs by up to `threads` threads, which wait for memory more than for each other."""

    def __init__(self, layout: Layout, threads: int) -> None:
        self._layout, self._threads = layout, threads
        self._pool: ThreadPoolExecutor | None = None

    def read(self, jobs: Sequence[Job], arrays: Mapping[str, np.ndarray]) -> dict[int, str]:
        """Reads the videos of all jobs into their rows; row → what is wrong with it, for the bad ones."""
        threads = min(self._threads, sum(len(job.rows) for job in jobs) // LEAST)
        if threads < 2:
            return self._share(jobs, arrays, slice(None))
        self._pool = self._pool or ThreadPoolExecutor(self._threads, "reading")
        parts = [slice(thread, None, threads) for thread in range(threads)]
        shares = [self._pool.submit(self._share, jobs, arrays, part) for part in parts]
        wait(shares)  # all of them, even if one fails: the caller closes what they read from
        return {row: fault for share in shares for row, fault in share.result().items()}

    def _share(self, jobs: Sequence[Job], arrays: Mapping[str, np.ndarray], part: slice) -> dict[int, str]:
        target, faults = Target(self._layout, arrays), dict[int, str]()
        for job in jobs:
            faults |= job.members.read(job.descriptor, job.path, job.places[part], target, job.rows[part])
        return faults
