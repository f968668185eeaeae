"""Hinges on a GPU: one Triton kernel turns a tile of float32 scores into W in bfloat16 and sums, between two products.

It is imported where there is a GPU, since Triton is installed only there. What it computes is `hinges.both_kinds`; no
tile waits for the host, so none is left out for having no active pair. Against float32 it differs by what bfloat16
rounds: rows of unit length that are rounded move a score by at most 2⁻⁸, so each mean of hinges too, and change W only
for pairs so near to their margin.
"""

from functools import cache

import torch
import triton  # type: ignore[import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, unused-ignore]
from jaxtyping import Float, Int
from torch import Tensor

from pretrain.loss.hinges import COSINES, Margins

HEIGHT, BREADTH = 64, 128
"""Scores of one program."""


@cache
def in_bfloat16(ratio: float) -> tuple[float, float]:
    """Weights of a negative and of a positive pair that bfloat16 holds, the latter over the former being the ratio.

    It is off by 2⁻⁹ of itself at the most, just above powers of two, and by 4·10⁻⁵ on average (200,000 drawn ratios).
    """
    negative = torch.arange(128, 256, dtype=torch.float64)
    positive = (ratio * negative).bfloat16().double()
    best = int((positive / negative - ratio).abs().argmin())
    return float(negative[best]), float(positive[best])


def weigh(
    scores: Float[Tensor, "query key"],
    left: Int[Tensor, "query way"],
    right: Int[Tensor, "key way"],
    itself: bool,
    margins: Margins,
    sums: Float[Tensor, "6"],
) -> tuple[Float[Tensor, "query key"], Float[Tensor, "query key"] | None, float]:
    """W of all pairs of a tile, or of the negative and of the positive ones where these are kept apart, and its unit:
    what the weight of a negative pair is to be multiplied by to be 1.

    `itself`: whether query i and key i are one row, and no pair.
    """
    rows, columns = scores.shape
    negative, positive = (1.0, 1.0) if margins.ratio is None else in_bfloat16(margins.ratio)
    over = torch.empty_like(scores, dtype=torch.bfloat16)
    under = torch.empty_like(over) if margins.ratio is None else None
    grid = triton.cdiv(rows, HEIGHT), triton.cdiv(columns, BREADTH)
    parts = sums.new_empty(COSINES, *grid, dtype=torch.float32)
    _weigh[grid](
        *(scores, over, over if under is None else under, parts),
        *(left.int().T.contiguous(), right.int().T.contiguous()),
        *(rows, columns, margins.positive, margins.negative, positive, negative),
        *(left.shape[1], under is not None, itself, HEIGHT, BREADTH),
    )
    sums[:COSINES] += parts.sum((1, 2), dtype=torch.float64)
    return over, under, 1 / negative


def _weigh_tile(  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917
    scores,
    over,
    under,
    parts,
    left,
    right,
    rows,
    columns,
    positive_margin,
    negative_margin,
    positive_weight,
    negative_weight,
    ways: tl.constexpr,
    apart: tl.constexpr,
    itself: tl.constexpr,
    height: tl.constexpr,
    breadth: tl.constexpr,
):
    """The sums go to parts[k, program row, program column], k as `hinges` numbers them."""
    row = tl.program_id(0) * height + tl.arange(0, height)
    column = tl.program_id(1) * breadth + tl.arange(0, breadth)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    place = row.to(tl.int64)[:, None] * columns + column[None, :]
    score = tl.load(scores + place, mask=inside, other=0.0)
    queries, keys = (
        tl.load(left + row, mask=row < rows, other=-1),
        tl.load(right + column, mask=column < columns, other=-1),
    )
    same = queries[:, None] == keys[None, :]
    if ways == 2:
        queries = tl.load(left + rows + row, mask=row < rows, other=-1)
        keys = tl.load(right + columns + column, mask=column < columns, other=-1)
        same = same | (queries[:, None] == keys[None, :])
    positive, negative = same & inside, inside & (same == 0)
    if itself:
        positive = positive & (row[:, None] != column[None, :])
    low = positive & ((score >= positive_margin) == 0)  # a score that is not a number is active, and so seen
    high = negative & ((score <= negative_margin) == 0)
    attracted, repelled = tl.where(low, 1.0, 0.0), tl.where(high, 1.0, 0.0)
    if apart:
        tl.store(over + place, repelled.to(tl.bfloat16), mask=inside)
        tl.store(under + place, attracted.to(tl.bfloat16), mask=inside)
    else:
        tl.store(over + place, (negative_weight * repelled - positive_weight * attracted).to(tl.bfloat16), mask=inside)
    programs = tl.num_programs(0) * tl.num_programs(1)
    part = parts + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    tl.store(part, tl.sum(tl.where(low, positive_margin - score, 0.0)))
    tl.store(part + programs, tl.sum(tl.where(high, score - negative_margin, 0.0)))
    tl.store(part + 2 * programs, tl.sum(attracted))
    tl.store(part + 3 * programs, tl.sum(repelled))
    tl.store(part + 4 * programs, tl.sum(tl.where(positive, score, 0.0)))


_weigh = triton.jit(_weigh_tile)
