"""The k best neighbours of each row, kept while pairs stream by: bounded memory, whatever comes.

Pairs wait until a buffer is full; then each row keeps its k best, and rows that have k raise their own bar: a pair
below it is of no use any more. Of equally similar neighbours those of lower place are kept, so the lists depend on the
pairs alone: not on their order, nor on when the buffer was full.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from graph.forests.forest import Edges
from graph.search.neighbours import NOBODY, Neighbours

BUFFER = 8_000_000
"""Pairs that wait at most; while they are sorted, each takes a hundred bytes."""


@dataclass(frozen=True)
class Lists:
    """Neighbour lists of rows that go by their places, and how far down they are complete."""

    near: Neighbours
    bar: Float32[np.ndarray, " row"]
    """A pair above the floor that is in neither end's list is below the bars of both, or as similar as one of them."""

    def of(self, rows: range) -> "Lists":
        """The lists of consecutive rows."""
        some = slice(rows.start, rows.stop)
        return Lists(Neighbours(self.near.indices[some], self.near.similarities[some]), self.bar[some])

    @classmethod
    def joined(cls, parts: Sequence["Lists"]) -> "Lists":
        """The lists of consecutive ranges of rows, one after the other."""
        near = [np.concatenate([getattr(part.near, name) for part in parts]) for name in ("indices", "similarities")]
        return cls(Neighbours(*near), np.concatenate([part.bar for part in parts]))


@dataclass(frozen=True)
class _Sided:
    """One-sided pairs: `others` are neighbours of `rows`."""

    rows: Int[np.ndarray, " pair"]
    others: Int[np.ndarray, " pair"]
    similarities: Float32[np.ndarray, " pair"]


class Best:
    """Lists of the k best of so many rows, above a floor."""

    def __init__(self, rows: int, k: int, floor: float, buffer: int = BUFFER) -> None:
        self.bar = np.full(rows, bar_at(floor), np.float32)
        """A pair below a row's bar is of no use to that row."""
        self.floor = bar_at(floor)
        """The lowest similarity that is of any use."""
        self._k, self._buffer = k, buffer
        self._unknown = np.full(rows, -np.inf, np.float32)
        nothing = np.empty(0, np.int32)
        self._listed = _Sided(nothing, nothing, np.empty(0, np.float32))
        self._waiting: list[_Sided] = []
        self._count = 0

    def start_from(self, lists: Lists) -> None:
        """Takes over lists: those of an earlier run, or of rows that are known already."""
        row, rank = np.nonzero(lists.near.indices != NOBODY)
        self.add_to(row.astype(np.int32), lists.near.indices[row, rank], lists.near.similarities[row, rank])
        self.incomplete_below(slice(None), lists.bar)

    def add(self, pairs: Edges) -> None:
        """Takes pairs for both their ends; each must come only once."""
        self.add_to(pairs.first, pairs.second, pairs.similarity)
        self.add_to(pairs.second, pairs.first, pairs.similarity)

    def add_to(self, rows: np.ndarray, others: np.ndarray, similarities: np.ndarray) -> None:
        """Takes pairs for one of their ends; each must come only once."""
        useful = similarities >= self.bar[rows]
        self._waiting.append(_Sided(rows[useful], others[useful], similarities[useful]))
        self._count += int(useful.sum())
        if self._count > self._buffer:
            self.settle()

    def incomplete_below(self, rows: np.ndarray | slice, similarity: Float32[np.ndarray, " row"]) -> None:
        """Takes note that pairs of these rows below a similarity may never come."""
        self._unknown[rows] = np.maximum(self._unknown[rows], similarity)

    def settle(self) -> None:
        """Sorts in what waits."""
        if not self._waiting:
            return
        parts = [self._listed, *self._waiting]
        rows, others, similarities = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "others", "similarities")
        )
        self._waiting, self._count = [], 0
        order = _order(rows, others, similarities)
        place = _place(rows[order], len(self.bar))
        order = order[place < self._k]
        self._listed = _Sided(rows[order], others[order], similarities[order])
        last = place[place < self._k] == self._k - 1
        np.maximum.at(self.bar, self._listed.rows[last], self._listed.similarities[last])

    def lists(self) -> Lists:
        """The lists as they are now, everything sorted in."""
        self.settle()
        shape = (len(self.bar), self._k)
        near = Neighbours(np.full(shape, NOBODY, np.int32), np.full(shape, -np.inf, np.float32))
        place = _place(self._listed.rows, len(self.bar))
        near.indices[self._listed.rows, place] = self._listed.others
        near.similarities[self._listed.rows, place] = self._listed.similarities
        return Lists(near, np.maximum(self.bar, self._unknown))


def bar_at(floor: float) -> np.float32:
    """The lowest similarity above a floor: edges are strictly above it, bars may be reached."""
    return np.nextafter(np.float32(floor), np.float32(2))


def _order(rows: np.ndarray, others: np.ndarray, similarities: np.ndarray) -> Int[np.ndarray, " pair"]:
    """What sorts pairs by row, then by falling similarity, then by neighbour."""
    bits = similarities.view(np.uint32)
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))  # float32 in the order of unsigned integers
    key = (rows.astype(np.uint64) << np.uint64(32)) | ~rising
    order = np.argsort(key, kind="stable")
    key = key[order]
    equal = np.flatnonzero(key[1:] == key[:-1])
    tied = np.union1d(equal, equal + 1)
    if len(tied):
        some = order[tied]
        order[tied] = some[np.lexsort((others[some], key[tied]))]
    return order


def _place(rows: Int[np.ndarray, " pair"], count: int) -> Int[np.ndarray, " pair"]:
    """The place of each pair in its row's list, for pairs by row."""
    starts = np.cumsum(np.bincount(rows, minlength=count))
    return np.arange(len(rows)) - np.r_[0, starts][rows]
