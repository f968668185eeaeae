"""Pairs: which snippet embeddings are compared, how many that is, and how to do it without storing any.

A global batch of N snippets has an audio and a visual row each, and one component id a snippet. Pairs are
ordered; a pair is positive iff the components are equal; a row is never paired with itself, while the audio
and the visual row of one second are a positive pair. Equation (3) takes the audio–audio and visual–visual
blocks, (4) the other two, (5) all four.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

Mode = Literal["uni", "cross", "multi"]

AUDIO, VISUAL = 0, 1
BLOCKS: dict[Mode, tuple[tuple[int, int], ...]] = {
    "uni": ((AUDIO, AUDIO), (VISUAL, VISUAL)),
    "cross": ((AUDIO, VISUAL), (VISUAL, AUDIO)),
    "multi": ((AUDIO, AUDIO), (VISUAL, VISUAL), (AUDIO, VISUAL), (VISUAL, AUDIO)),
}


def gather(rows: Tensor) -> tuple[Tensor, int]:
    """Every rank's rows in rank order, and where this rank's begin; ranks may hold any number of rows."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows, 0
    size, rank = dist.get_world_size(), dist.get_rank()
    counts = [torch.empty(1, dtype=torch.int64, device=rows.device) for _ in range(size)]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    held = [int(count) for count in counts]
    padded = rows.new_zeros((max(held), *rows.shape[1:]))
    padded[: len(rows)] = rows
    everyone = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(everyone, padded)
    return torch.cat([part[:count] for part, count in zip(everyone, held, strict=True)]), sum(held[:rank])


@dataclass(frozen=True)
class Totals:
    """How many ordered pairs of each kind a mode compares, and the sums of their cosines (0 for no pairs)."""

    positives: int
    negatives: int
    positive_cosines: float
    negative_cosines: float


def totals(rows: Float[Tensor, "snippet 2 width"], ids: Int[Tensor, " snippet"], mode: Mode) -> Totals:
    """The counts and cosine sums of all pairs of a mode, without looking at any pair.

    The counts come from the component histogram h: Σ h(h-1) positives in a block of one modality, Σ h² in a
    cross block. The cosine sums come from the sums of the rows of each component in the same way.
    """
    if len(ids) == 0:
        return Totals(0, 0, 0.0, 0.0)
    _, component, histogram = ids.unique(return_inverse=True, return_counts=True)
    sums = rows.new_zeros((len(histogram), *rows.shape[1:])).index_add_(0, component, rows)
    whole = sums.sum(0)
    squares = rows.square().sum((0, 2))
    positives = negatives = 0
    cosines: list[tuple[float, float]] = []
    for query, key in BLOCKS[mode]:
        itself, norms = (len(ids), float(squares[query])) if query == key else (0, 0.0)
        alike = int(histogram.square().sum())
        positives += alike - itself
        negatives += len(ids) ** 2 - alike
        inside = float((sums[:, query] * sums[:, key]).sum())
        cosines.append((inside - norms, float(whole[query] @ whole[key]) - inside))
    return Totals(positives, negatives, sum(pair[0] for pair in cosines), sum(pair[1] for pair in cosines))


@dataclass(frozen=True)
class Rows:
    """Rows of one modality in the order of their component ids, so that positive pairs lie in few tiles."""

    values: Float[Tensor, "row width"]
    ids: Int[Tensor, " row"]
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


def sweep(queries: Rows, keys: Rows, weights: Weights, same_modality: bool, tile: int, gradient: bool) -> Swept:
    """The hinges of all ordered pairs (query, key) and their gradient, in one pass over tiles of scores."""
    total = torch.zeros_like(queries.values)
    sums = torch.zeros(4, dtype=torch.float64, device=total.device)
    start = 0
    for some in queries.chunks(tile):
        slope = total[start : start + len(some.ids)]
        for others in keys.chunks(tile):
            scores = some.values @ others.values.T
            signs = _signs(scores, some, others, weights, same_modality)
            if signs is None:
                continue
            positive, negative = signs
            _add_hinges(sums, scores, positive, negative, weights)
            if gradient:
                signed = negative.to(scores.dtype).mul_(weights.negative)
                if positive is not None:
                    signed.sub_(positive.to(scores.dtype), alpha=weights.positive)
                slope.addmm_(signed, others.values)
        start += len(some.ids)
    return Swept(total, sums)


def _signs(
    scores: Tensor, some: Rows, others: Rows, weights: Weights, same_modality: bool
) -> tuple[Tensor | None, Tensor] | None:
    """A tile's active positive (None: it can hold none) and active negative pairs; None: it has neither.

    A score that is not a number counts as active, so that it reaches the loss and does not vanish in a
    comparison.
    """
    if bool(some.ids[0] > others.ids[-1]) or bool(some.ids[-1] < others.ids[0]):
        if bool(scores.amax() <= weights.negative_margin):
            return None
        return None, ~(scores <= weights.negative_margin)
    same = some.ids[:, None] == others.ids[None, :]
    negative = ~(scores <= weights.negative_margin) & ~same
    if same_modality:
        column = some.place - others.place[0]
        held = ((column >= 0) & (column < len(others.ids))).nonzero().squeeze(1)
        same[held, column[held]] = False
    return ~(scores >= weights.positive_margin) & same, negative


def _add_hinges(sums: Tensor, scores: Tensor, positive: Tensor | None, negative: Tensor, weights: Weights) -> None:
    over = scores.masked_fill(~negative, weights.negative_margin).sub_(weights.negative_margin)
    sums[1] += over.sum()
    sums[3] += negative.sum()
    if positive is not None:
        under = scores.masked_fill(~positive, weights.positive_margin).sub_(weights.positive_margin)
        sums[0] -= under.sum()
        sums[2] += positive.sum()
