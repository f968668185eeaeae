"""Hinges: what a tile of scores adds to the loss, and the matrix W of -ratio, 0 and 1 that gives its gradient.

[p - s]₊ of a positive pair falls with its score s while s < p, [s - n]₊ of a negative one rises while s > n; so for
queries Q and keys K the gradient of Q is W K and that of K is Wᵀ Q. All of it is float arithmetic in place, which is
what a CPU does fast: on 1024 × 1024 scores `clamp_` takes 0.05 ms and `==` into floats 0.06, but `masked_fill` 4.0 and
`==` into booleans 0.6; the scores themselves, at width 512, 12 ms (`python -m tests.bench.bench_loss --tiles`, one
thread).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

FEW = 64
"""Pairs a row that are listed at most; more are found by looking at every pair. With so many a row and no negative
active a tile takes 24 ms listed and 41 ms looked at; with negatives active 41 and 43 (the same command)."""

POSITIVE_HINGES, NEGATIVE_HINGES, ACTIVE_POSITIVES, ACTIVE_NEGATIVES, POSITIVE_COSINES, COSINES = range(6)
"""What `sums` hold: unweighted hinges, numbers of those above zero, cosines of positive and of all pairs; float64."""


@dataclass(frozen=True)
class Margins:
    """The hinges' margins, and how positive and negative pairs weigh against each other."""

    positive: float
    negative: float
    ratio: float | None
    """What a positive pair weighs if a negative one weighs 1; None: not known yet, so the gradients are kept apart."""


@dataclass(frozen=True)
class Slopes:
    """Takes the gradient of some rows: of their hinges with negative pairs, and with positive pairs."""

    negative: Float[Tensor, "row width"]
    positive: Float[Tensor, "row width"]
    """The same tensor where the ratio of the weights is known, and positive pairs are weighed by it."""

    @classmethod
    def zeros(cls, rows: Float[Tensor, "row width"], apart: bool) -> "Slopes":
        dtype = torch.promote_types(rows.dtype, torch.float32)
        negative = torch.zeros_like(rows, dtype=dtype)
        return cls(negative, torch.zeros_like(negative) if apart else negative)

    def part(self, rows: slice) -> "Slopes":
        negative = self.negative[rows]
        return Slopes(negative, negative if self.together else self.positive[rows])

    @property
    def together(self) -> bool:
        return self.positive is self.negative

    def weighed(self, weights: Float[Tensor, "2"]) -> Float[Tensor, "row width"]:
        """The gradient, from what a positive and a negative pair weigh; in the place of the slopes."""
        gradient = self.negative.mul_(weights[1])
        return gradient if self.together else gradient.add_(self.positive.mul_(weights[0]))


@dataclass(frozen=True)
class Listed:
    """Positive pairs of a tile."""

    row: Int[Tensor, " pair"]
    column: Int[Tensor, " pair"]


def few_positives(
    left: Int[Tensor, "row way"], right: Int[Tensor, "column way"], itself: Listed | None
) -> Listed | None:
    """The positive pairs of a tile without those of a row with itself; None: they may be more than a few a row."""
    pairs = _equal(left[:, 0].contiguous(), right[:, 0].contiguous())
    if pairs is not None and left.shape[1] == 2:
        more = _equal(left[:, 1].contiguous(), right[:, 1].contiguous())
        if more is None:
            return None
        new = left[more.row, 0] != right[more.column, 0]
        pairs = Listed(torch.cat((pairs.row, more.row[new])), torch.cat((pairs.column, more.column[new])))
    if pairs is None or itself is None:
        return pairs
    own = torch.full((len(left),), -1, device=left.device)
    own[itself.row] = itself.column
    other = own[pairs.row] != pairs.column
    return Listed(pairs.row[other], pairs.column[other])


def _equal(left: Int[Tensor, " row"], right: Int[Tensor, " column"]) -> Listed | None:
    """All pairs of equal numbers, row by row; None for more than a few a row."""
    ascending, order = right.sort()
    low = torch.searchsorted(ascending, left)
    count = torch.searchsorted(ascending, left, right=True) - low
    found = int(count.sum())
    if found > FEW * len(left):
        return None
    first = count.cumsum(0) - count
    row = torch.repeat_interleave(count)
    return Listed(row, order[(low - first)[row] + torch.arange(found, device=row.device)])


def negatives(
    scores: Float[Tensor, "query key"], margin: float, sums: Float[Tensor, "6"]
) -> Float[Tensor, "query key"] | None:
    """W of a tile of negative pairs, in the place of its scores; None where no hinge is above zero.

    A score that is not a number makes the sum of hinges one that is not.
    """
    over = scores.sub_(margin).clamp_(min=0)
    hinges = total(over)
    if not float(hinges):
        return None
    active = over.sign_()
    sums[NEGATIVE_HINGES] += hinges
    sums[ACTIVE_NEGATIVES] += total(active)
    return active


def both_kinds(
    scores: Float[Tensor, "query key"],
    positive: Float[Tensor, "query key"],
    itself: Listed | None,
    margins: Margins,
    sums: Float[Tensor, "6"],
) -> tuple[Float[Tensor, "query key"], Float[Tensor, "query key"]]:
    """W of the negative and of the positive pairs (0 and 1) of a tile, where `positive` is 1 for the latter.

    A row and itself are no pair. Scores and `positive` are overwritten.
    """
    over = (scores - margins.negative).clamp_(min=0).mul_(1 - positive)
    if itself is not None:
        positive[itself.row, itself.column] = 0
    sums[POSITIVE_COSINES] += torch.dot(scores.flatten(), positive.flatten())
    under = scores.neg_().add_(margins.positive).clamp_(min=0).mul_(positive)
    sums[NEGATIVE_HINGES] += total(over)
    sums[POSITIVE_HINGES] += total(under)
    over, under = over.sign_(), under.sign_()
    sums[ACTIVE_NEGATIVES] += total(over)
    sums[ACTIVE_POSITIVES] += total(under)
    return over, under


def listed_positives(
    scores: Float[Tensor, "query key"], pairs: Listed, margins: Margins, sums: Float[Tensor, "6"]
) -> Listed:
    """Those of the listed positive pairs whose hinges are above zero; their scores become ones that add nothing."""
    found = scores[pairs.row, pairs.column]
    scores[pairs.row, pairs.column] = margins.negative
    active = ~(found >= margins.positive)
    sums[POSITIVE_COSINES] += found.sum()
    sums[POSITIVE_HINGES] += (margins.positive - found[active]).sum()
    sums[ACTIVE_POSITIVES] += active.sum()
    return Listed(pairs.row[active], pairs.column[active])


def as_floats(ids: Int[Tensor, "row way"], like: Tensor) -> Float[Tensor, "way row"]:
    """Component numbers as floats, which are compared much faster; exact below 2²⁴ components."""
    return ids.T.to(like.dtype).contiguous()


def same(left: Float[Tensor, "way row"], right: Float[Tensor, "way column"]) -> Float[Tensor, "row column"]:
    """1 for the pairs whose components are equal in any way, else 0."""
    found = left.new_empty(left.shape[1], right.shape[1])
    torch.eq(left[0, :, None], right[0, None, :], out=found)
    for way in range(1, len(left)):
        found = torch.maximum(found, torch.eq(left[way, :, None], right[way, None, :], out=torch.empty_like(found)))
    return found


def total(tile: Float[Tensor, "query key"]) -> Float[Tensor, ""]:
    """The sum in float64 of sums of rows, so that counts in float32 stay exact."""
    return tile.sum(1).sum(dtype=torch.float64)
