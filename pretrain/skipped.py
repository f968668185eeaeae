"""The bad videos that were left out, gathered from all ranks and told once."""

from collections.abc import Iterable

import torch.distributed as dist

from launch.tracking import Record


class Skipped:
    """The videos that any rank of this start skipped.

    They are told before each checkpoint: a run that dies keeps them, and meets those after the checkpoint again.
    """

    def __init__(self, mine: Iterable[str]) -> None:
        """`mine`: one sentence for each video that this rank skipped already."""
        self._mine, self._all, self._told = set(mine), set[str](), -1

    def add(self, mine: Iterable[str]) -> None:
        """Remembers what this rank skipped since."""
        self._mine.update(mine)

    def tell(self, step: int, record: Record) -> None:
        """Counts and lists what all ranks skipped, each video once, if that is more than was told. Collective.

        Never the last thing a rank does: where gloo's thread lets go of what was gathered while Python ends, it aborts.
        """
        everyone: list[set[str]] = [set() for _ in range(dist.get_world_size())]
        dist.all_gather_object(everyone, self._mine - self._all)
        self._mine.clear()
        self._all.update(*everyone)
        if len(self._all) > self._told:
            record.skipped(step, sorted(self._all))
            self._told = len(self._all)
