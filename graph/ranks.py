"""Processes that build one graph together: who does what, and how parts come together again.

What they send one another are arrays and small objects of this program, over gloo, whatever the device. One process
alone is a world of size 1 in which nothing travels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from launch.world import World

Item = TypeVar("Item")
PATIENCE = timedelta(hours=24)
"""How long processes wait for one whose share of the work takes longer."""


@dataclass(frozen=True)
class Ranks:
    """The processes of one build, seen from one of them; all methods but `of` and `slice` are collective."""

    rank: int = 0
    size: int = 1
    group: Any = None

    @classmethod
    def of_world(cls, world: World) -> "Ranks":
        """The ranks of a world; nccl moves no host memory, so they get a gloo group of their own."""
        group = dist.new_group(backend="gloo", timeout=PATIENCE) if world.size > 1 else None
        return cls(world.rank, world.size, group)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that holds whole results."""
        return self.rank == 0

    def of(self, work: Sequence[Item]) -> list[Item]:
        """This process's share of some work, dealt in turn."""
        return list(work[self.rank :: self.size])

    def slice(self, count: int) -> range:
        """This process's share of so many rows: consecutive ones."""
        return _slice(self.rank, self.size, count)

    def slices(self, count: int) -> list[range]:
        """Every process's share of so many rows."""
        return [_slice(rank, self.size, count) for rank in range(self.size)]

    def exchange(self, items: Sequence[Item]) -> list[Item]:
        """What every process has for this one, in rank order; `items` are for each process in turn."""
        received: list[Item] = list(items[:1])
        for to, item in enumerate(items):
            parts = self._gather(item, to)
            received = parts if parts is not None else received
        return received

    def gather(self, item: Item) -> list[Item] | None:
        """Every process's item in rank order, on the first process; None on the others."""
        return self._gather(item, 0)

    def all(self, item: Item) -> list[Item]:
        """Every process's item in rank order, everywhere."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item, group=self.group)
        return items

    def share(self, item: Item) -> Item:
        """The first process's item, everywhere."""
        items = [item]
        if self.size > 1:
            dist.broadcast_object_list(items, src=0, group=self.group)
        return items[0]

    def merged(self, item: Item, merge: Callable[[Item, Item], Item]) -> Item:
        """All items merged in a tree: whole on the first process, a part of it on the others."""
        step = 1
        while step < self.size:
            if self.rank % (2 * step) == step:
                dist.send_object_list([item], dst=self.rank - step, group=self.group)
            elif self.rank % (2 * step) == 0 and self.rank + step < self.size:
                other: list[Any] = [None]
                dist.recv_object_list(other, src=self.rank + step, group=self.group)
                item = merge(item, other[0])
            step *= 2
        return item

    def barrier(self) -> None:
        """Waits until every process is here."""
        if self.size > 1:
            dist.barrier(group=self.group)

    def _gather(self, item: Item, to: int) -> list[Item] | None:
        if self.size == 1:
            return [item]
        items: list[Any] | None = [None] * self.size if self.rank == to else None
        dist.gather_object(item, items, dst=to, group=self.group)
        return items


def _slice(rank: int, size: int, count: int) -> range:
    return range(rank * count // size, (rank + 1) * count // size)
