"""The sweep: hinges and gradient over all pairs of some rows, tile by tile; no matrix of pairs is ever stored.

Rows come sorted by their first way's component, so most tiles can hold no pair that is positive in it. In such a tile
the pairs that are equal in the second way are listed and taken out one by one, where they are few; what is left are
negatives, and a tile whose negatives are all beyond their margin costs one product of matrices.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from pretrain.loss.pairs import alike

FEW = 16
"""Pairs a row that are listed at most. Measured on 1024 × 1024 scores, width 256, one thread: to list 16 a row and take
them out costs 2.5 ms, to look at every pair 15.6 ms, the scores themselves 6.5 ms."""


@dataclass(frozen=True)
class Rows:
    """Rows of one modality in the order of their first way's ids, so that its positive pairs lie in few tiles."""

    values: Float[Tensor, "row width"]
    ids: Int[Tensor, "row way"]
    place: Int[Tensor, " row"]
    """Where each row stands among the sorted rows of the global batch."""

    def chunks(self, length: int) -> Iterator["Rows"]:
        for start in range(0, len(self.ids), length):
            part = slice(start, start + length)
            yield Rows(self.values[part], self.ids[part], self.place[part])


@dataclass(frozen=True)
class Weights:
    """The hinge's margins, and what one positive and one negative pair weigh in the loss."""

    positive_margin: float
    negative_margin: float
    positive: float
    negative: float


@dataclass(frozen=True)
class Swept:
    """What a sweep over all pairs of some rows left behind."""

    gradient: Float[Tensor, "row width"]
    """Of the weighted hinges with respect to the query rows, each ordered pair counted once."""
    sums: Float[Tensor, "4"]
    """Float64: the unweighted hinges of positive and negative pairs, the number of active ones of each."""


@dataclass(frozen=True)
class Listed:
    """Pairs of a tile, row by row."""

    row: Int[Tensor, " pair"]
    column: Int[Tensor, " pair"]
    first: Int[Tensor, " row"]
    """Where each row's pairs begin."""


@dataclass(frozen=True)
class Tile:
    """The scores of some queries and keys, and what they add to."""

    scores: Float[Tensor, "query key"]
    queries: Rows
    keys: Rows
    slope: Float[Tensor, "query width"] | None
    """Takes the queries' gradient; None where none is wanted."""
    sums: Float[Tensor, "4"]
    """Takes the numbers of `Swept.sums`."""


def sweep(queries: Rows, keys: Rows, weights: Weights, same_modality: bool, tile: int, gradient: bool) -> Swept:
    """The hinges of all ordered pairs (query, key) and their gradient, in one pass over tiles of scores.

    A score that is not a number counts as active, so that it reaches the loss and does not vanish in a comparison.
    """
    total = torch.zeros_like(queries.values)
    sums = torch.zeros(4, dtype=torch.float64, device=total.device)
    start = 0
    for some in queries.chunks(tile):
        slope = total[start : start + len(some.ids)] if gradient else None
        for others in keys.chunks(tile):
            part = Tile(some.values @ others.values.T, some, others, slope, sums)
            positives = _few_positives(some, others)
            if positives is None:
                _add_both_kinds(part, weights, same_modality)
            else:
                _take_out(part, positives, weights)
                _add_negatives(part, weights)
        start += len(some.ids)
    return Swept(total, sums)


def _few_positives(queries: Rows, keys: Rows) -> Listed | None:
    """The positive pairs of a tile that has few; None: it may have more, so every pair must be looked at."""
    if not (bool(queries.ids[0, 0] > keys.ids[-1, 0]) or bool(queries.ids[-1, 0] < keys.ids[0, 0])):
        return None
    if queries.ids.shape[1] == 1:
        return Listed(queries.place[:0], queries.place[:0], queries.place[:0])
    second, order = keys.ids[:, 1].sort()
    wanted = queries.ids[:, 1].contiguous()
    low = torch.searchsorted(second, wanted)
    count = torch.searchsorted(second, wanted, right=True) - low
    found = int(count.sum())
    if found > FEW * len(count):
        return None
    first = count.cumsum(0) - count
    row = torch.repeat_interleave(count)
    return Listed(row, order[(low - first)[row] + torch.arange(found, device=row.device)], first)


def _take_out(tile: Tile, positives: Listed, weights: Weights) -> None:
    """Adds the hinges of the listed pairs, and lowers their scores so that no negative is seen in their place."""
    if len(positives.row) == 0:
        return
    scores = tile.scores[positives.row, positives.column]
    tile.scores[positives.row, positives.column] = -torch.inf
    active = ~(scores >= weights.positive_margin)
    tile.sums[0] += (weights.positive_margin - scores[active]).sum()
    tile.sums[2] += active.sum()
    if tile.slope is not None:
        signed = active.to(scores.dtype).mul_(-weights.positive)
        values, bags = tile.keys.values, positives.first
        tile.slope.add_(embedding_bag(positives.column, values, bags, mode="sum", per_sample_weights=signed))


def _add_negatives(tile: Tile, weights: Weights) -> None:
    """Adds the hinges of a tile whose pairs are all negative."""
    if bool(tile.scores.amax() <= weights.negative_margin):
        return
    negative = ~(tile.scores <= weights.negative_margin)
    _add_over(tile, negative, weights)
    if tile.slope is not None:
        tile.slope.addmm_(negative.to(tile.scores.dtype).mul_(weights.negative), tile.keys.values)


def _add_both_kinds(tile: Tile, weights: Weights, same_modality: bool) -> None:
    """Adds the hinges of a tile with pairs of both kinds; a row and itself are no pair."""
    scores = tile.scores
    same = alike(tile.queries.ids, tile.keys.ids)
    negative = ~(scores <= weights.negative_margin) & ~same
    if same_modality:
        column = tile.queries.place - tile.keys.place[0]
        held = ((column >= 0) & (column < len(tile.keys.ids))).nonzero().squeeze(1)
        same[held, column[held]] = False
    positive = ~(scores >= weights.positive_margin) & same
    _add_over(tile, negative, weights)
    under = scores.masked_fill(~positive, weights.positive_margin).sub_(weights.positive_margin)
    tile.sums[0] -= under.sum()
    tile.sums[2] += positive.sum()
    if tile.slope is not None:
        signed = negative.to(scores.dtype).mul_(weights.negative)
        tile.slope.addmm_(signed.sub_(positive.to(scores.dtype), alpha=weights.positive), tile.keys.values)


def _add_over(tile: Tile, negative: Tensor, weights: Weights) -> None:
    """Adds the hinges of the active negative pairs."""
    over = tile.scores.masked_fill(~negative, weights.negative_margin).sub_(weights.negative_margin)
    tile.sums[1] += over.sum()
    tile.sums[3] += negative.sum()
