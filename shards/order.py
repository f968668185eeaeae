"""Who reads what when: pure arithmetic, without any file.

The sequence of global batches is a function of (manifest digest, group digest or none, seed, epoch, window, global
batch size, position) alone, so it is the same for every number of ranks and loader processes, and a run that resumes
at a step sees the batches it would have seen. In an epoch the shards are permuted and cut into windows of W; videos are
permuted inside a window, and window follows window: a reader needs no more than the shards of one window at a time.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shards.groups import Groups, lay_out


class Piece(NamedTuple):
    """Consecutive videos of a global batch that lie in one window."""

    window: int
    """The window's number, counted from 0 over all epochs."""
    places: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Order:
    """The global batches of a shard set: every video exactly once an epoch, the last batch of an epoch short."""

    digest: str
    """The shard set's manifest digest."""
    counts: tuple[int, ...]
    """Videos of each shard in stored order, possibly 0; a video's place counts from 0 over all of them."""
    global_batch: int
    """Videos a global batch, over all ranks."""
    seed: int
    window: int = 16
    """W: shards whose videos are mixed with each other."""
    groups: Groups | None = None
    """Which videos are kept together, if any."""

    def __post_init__(self) -> None:
        if min(self.videos, self.global_batch, self.window) < 1:
            raise ValueError(
                f"An order needs videos, a batch size and a window of at least 1, not {self.videos}, "
                f"{self.global_batch}, {self.window}."
            )
        if self.groups and len(self.groups.ids) != self.videos:
            raise ValueError(f"An order needs one group a video, not {len(self.groups.ids)} for {self.videos}.")
        if self.groups and not 1 <= self.groups.per_group <= self.global_batch:
            raise ValueError(
                f"A global batch of {self.global_batch} cannot keep {self.groups.per_group} videos of a group together."
            )

    @cached_property
    def videos(self) -> int:
        """Videos an epoch."""
        return sum(self.counts)

    @property
    def steps_per_epoch(self) -> int:
        """Global batches an epoch, the short one included."""
        return -(-self.videos // self.global_batch)

    @cached_property
    def windows_per_epoch(self) -> int:
        """Windows an epoch, the last of them perhaps of fewer shards; shards without videos are in none."""
        return -(-int(np.count_nonzero(self.counts)) // self.window)

    def batch(self, step: int) -> NDArray[np.int64]:
        """The places of global batch number `step`, counted from 0 over all epochs."""
        return np.concatenate([piece.places for piece in self.pieces(step)])

    def pieces(self, step: int, rank: int = 0, size: int = 1) -> list[Piece]:
        """One rank's part of a global batch (floor or ceil of its share), cut where a window ends; none if empty."""
        epoch, position = divmod(step, self.steps_per_epoch)
        first = position * self.global_batch
        start, stop = (first + bound for bound in self.bounds(step, rank, size))
        borders = _epoch(self, epoch).borders
        numbers = range(int(np.searchsorted(borders, start, "right")) - 1, int(np.searchsorted(borders, stop, "left")))
        return [
            Piece(
                epoch * self.windows_per_epoch + number,
                _window(self, epoch, number)[max(start - borders[number], 0) : stop - borders[number]],
            )
            for number in (numbers if start < stop else ())
        ]

    def bounds(self, step: int, rank: int, size: int) -> tuple[int, int]:
        """Where in a global batch one rank's part begins and ends."""
        videos = self.length(step)
        return videos * rank // size, videos * (rank + 1) // size

    def length(self, step: int) -> int:
        """Videos of a global batch, over all ranks."""
        position = step % self.steps_per_epoch
        return min(self.global_batch, self.videos - position * self.global_batch)

    def window_at(self, step: int) -> int:
        """The window in which a global batch begins, counted from 0 over all epochs."""
        return self.pieces(step)[0].window

    def shards(self, window: int) -> tuple[int, ...]:
        """The numbers of the shards of a window, which is counted from 0 over all epochs."""
        epoch, number = divmod(window, self.windows_per_epoch)
        shards = _epoch(self, epoch).shards
        return tuple(shards[number * self.window : (number + 1) * self.window].tolist())

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The place of each shard's first video."""
        return np.cumsum(self.counts, dtype=np.int64) - np.asarray(self.counts, dtype=np.int64)

    @property
    def identity(self) -> str:
        """What fixes the order but for the epoch; the batch size counts only where groups are kept inside batches."""
        words = [self.digest, self.seed, self.window]
        if self.groups and self.groups.per_group > 1:
            words += [self.groups.digest, self.groups.per_group, self.global_batch]
        return "/".join(map(str, words))


class _Epoch(NamedTuple):
    shards: NDArray[np.int64]
    """The numbers of the shards that hold videos, permuted."""
    borders: NDArray[np.int64]
    """Where in the epoch each window begins, in videos, and where the last one ends."""


@lru_cache(maxsize=8)
def _epoch(order: Order, epoch: int) -> _Epoch:
    counts = np.asarray(order.counts, dtype=np.int64)
    shards = np.flatnonzero(counts)
    shards = shards[_permutation(f"{order.identity}/{epoch}", len(shards))]
    ends = np.cumsum(counts[shards])[order.window - 1 :: order.window]
    borders = np.r_[0, ends, [order.videos] * (len(ends) < order.windows_per_epoch)]
    return _Epoch(shards, borders.astype(np.int64))


@lru_cache(maxsize=8)
def _window(order: Order, epoch: int, number: int) -> NDArray[np.int64]:
    """The places of one window in the order they are read; kept for the window at hand and its neighbours."""
    shards = order.shards(epoch * order.windows_per_epoch + number)
    places = np.concatenate([np.arange(order.starts[each], order.starts[each] + order.counts[each]) for each in shards])
    identity, groups = f"{order.identity}/{epoch}/{number}", order.groups
    if groups and groups.per_group > 1:
        room = order.global_batch - int(_epoch(order, epoch).borders[number]) % order.global_batch
        words = _words(identity, 2 * len(places))
        read = lay_out(groups.ids[places], groups.per_group, room, order.global_batch, words)
    else:
        read = _permutation(identity, len(places))
    sequence = places[read]
    sequence.flags.writeable = False
    return sequence


def _permutation(identity: str, count: int) -> NDArray[np.int64]:
    return np.argsort(_words(identity, count), kind="stable").astype(np.int64)


def _words(identity: str, count: int) -> NDArray[np.uint64]:
    """Raw PCG64 words, which numpy guarantees to stay; what `Generator.permutation` draws may change with numpy."""
    state = int.from_bytes(hashlib.sha256(identity.encode()).digest(), "big")
    return np.random.PCG64(state).random_raw(count)
