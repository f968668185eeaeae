"""The sweep: hinges and gradient over all pairs of some rows, tile by tile; no matrix of pairs is ever stored.

A rank's own rows are compared once for both orders of a pair: a tile's W K is the gradient of its queries, Wᵀ Q that of
its keys, and tiles below the diagonal are their mirror images. In a tile whose positive pairs are few, these are listed
and taken out one by one; what is left are negatives, and a tile whose negatives are all within their margin costs one
product of matrices instead of three.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import embedding_bag

from pretrain.loss.hinges import (
    COSINES,
    NEGATIVE_HINGES,
    POSITIVE_HINGES,
    Listed,
    Margins,
    Slopes,
    as_floats,
    both_kinds,
    few_positives,
    listed_positives,
    negatives,
    same,
)
from pretrain.loss.pairs import Rows


@dataclass(frozen=True)
class Side:
    """Rows of one modality, and what takes their gradient: None for rows of another rank, or where none is wanted."""

    rows: Rows
    slopes: Slopes | None

    def chunks(self, length: int) -> Iterator["Side"]:
        for start in range(0, len(self.rows.ids), length):
            part = slice(start, start + length)
            rows = Rows(self.rows.values[part], self.rows.ids[part])
            yield Side(rows, self.slopes and self.slopes.part(part))


@dataclass(frozen=True)
class Tally:
    """How pairs are weighed, and what a sweep adds to."""

    margins: Margins
    sums: Float[Tensor, "6"]
    """Over ordered pairs, see `hinges`."""
    tile: int
    """Rows and columns of scores held at once."""


def sweep_own(side: Side, tally: Tally) -> None:
    """Adds all ordered pairs of a rank's rows of one modality; a row and itself are no pair."""
    chunks = list(side.chunks(tally.tile))
    for index, left in enumerate(chunks):
        each = torch.arange(len(left.rows.ids), device=left.rows.ids.device)
        _add(left, Side(left.rows, None), 1, Listed(each, each), tally)
        for right in chunks[index + 1 :]:
            _add(left, right, 2, None, tally)
    norms = torch.linalg.vector_norm(side.rows.values, dtype=torch.float64).square()
    tally.sums[COSINES] += _cosines(side, side) - norms


def sweep(left: Side, right: Side, orders: int, tally: Tally) -> None:
    """Adds all pairs of rows of two modalities or two ranks, each pair for one or both of its orders."""
    rights = list(right.chunks(tally.tile))
    for one in left.chunks(tally.tile):
        for other in rights:
            _add(one, other, orders, None, tally)
    tally.sums[COSINES] += orders * _cosines(left, right)


def _cosines(left: Side, right: Side) -> Float[Tensor, ""]:
    """The sum of the scores of all pairs, without looking at any."""
    return left.rows.values.sum(0, dtype=torch.float64) @ right.rows.values.sum(0, dtype=torch.float64)


def _add(left: Side, right: Side, orders: int, itself: Listed | None, tally: Tally) -> None:
    """Adds a tile of scores, which are thrown away."""
    sums = torch.zeros_like(tally.sums)
    add = _add_rounded if left.rows.values.dtype == torch.bfloat16 else _add_exact
    add(left, right, itself, tally.margins, sums)
    tally.sums.add_(sums, alpha=orders)


def _add_rounded(left: Side, right: Side, itself: Listed | None, margins: Margins, sums: Float[Tensor, "6"]) -> None:
    """On a GPU: three products and a kernel, queued without waiting for any result."""
    from pretrain.loss.kernels import weigh

    scores = torch.mm(left.rows.values, right.rows.values.T, out_dtype=torch.float32)
    over, under, unit = weigh(scores, left.rows.ids, right.rows.ids, itself is not None, margins, sums)
    add_gradient(over, under, left, right, margins, unit)


def _add_exact(left: Side, right: Side, itself: Listed | None, margins: Margins, sums: Float[Tensor, "6"]) -> None:
    scores = left.rows.values @ right.rows.values.T
    pairs = few_positives(left.rows.ids, right.rows.ids, itself)
    if pairs is None:
        ids = [as_floats(side.rows.ids, scores) for side in (left, right)]
        over, under = both_kinds(scores, same(*ids), itself, margins, sums)
        if float(sums[POSITIVE_HINGES] + sums[NEGATIVE_HINGES]):
            add_gradient(over, under, left, right, margins)
        return
    active = listed_positives(scores, pairs, margins, sums)
    if itself is not None:
        scores[itself.row, itself.column] = margins.negative
    negative = negatives(scores, margins.negative, sums)
    if negative is not None and margins.ratio is not None:
        negative[active.row, active.column] = -margins.ratio
    elif len(active.row):
        _add_listed(active, left, right, margins)
    if negative is not None:
        add_gradient(negative, None, left, right, margins)


def add_gradient(
    over: Tensor, under: Tensor | None, left: Side, right: Side, margins: Margins, unit: float = 1.0
) -> None:
    """Adds W K to the queries' slopes and Wᵀ Q to the keys', W being 1 / unit where a negative pair is active."""
    if under is not None and margins.ratio is not None:
        over, under = over.sub_(under, alpha=margins.ratio), None
    for side, other, turned in ((left, right, False), (right, left, True)):
        if side.slopes is not None:
            _add_product(side.slopes.negative, over.T if turned else over, other.rows.values, unit)
            if under is not None:
                _add_product(side.slopes.positive, under.T if turned else under, other.rows.values, -unit)


def _add_product(slopes: Tensor, weights: Tensor, rows: Tensor, alpha: float) -> None:
    if rows.dtype == slopes.dtype:
        slopes.addmm_(weights, rows, alpha=alpha)
    else:
        slopes.add_(torch.mm(weights, rows, out_dtype=slopes.dtype), alpha=alpha)


def _add_listed(pairs: Listed, left: Side, right: Side, margins: Margins) -> None:
    """The same for positive pairs one by one."""
    weight = -1.0 if margins.ratio is None else -margins.ratio
    for side, other, at, to in ((left, right, pairs.row, pairs.column), (right, left, pairs.column, pairs.row)):
        if side.slopes is not None:
            order = at.argsort(stable=True)
            count = at.bincount(minlength=len(side.rows.ids))
            added = embedding_bag(to[order], other.rows.values, count.cumsum(0) - count, mode="sum")
            side.slopes.positive.add_(added, alpha=weight)
