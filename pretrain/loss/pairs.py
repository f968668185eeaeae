"""Pairs: which snippet embeddings are compared, which of them are positive, and how many that is.

A global batch of N snippets has an audio and a visual row each, and in each way of belonging together (one, or one a
modality) a component id a snippet. Pairs are ordered; a pair is positive iff the components are equal in any way; a
row is never paired with itself, while the audio and the visual row of one second are a positive pair. Equation (3)
takes the audio–audio and visual–visual blocks, (4) the other two, (5) all four.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
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


def alike(left: Int[Tensor, "left way"], right: Int[Tensor, "right way"]) -> Bool[Tensor, "left right"]:
    """Whether two snippets make a positive pair: whether their components are equal in any way."""
    same = left[:, 0, None] == right[None, :, 0]
    for way in range(1, left.shape[1]):
        same |= left[:, way, None] == right[None, :, way]
    return same


@dataclass(frozen=True)
class Totals:
    """How many ordered pairs of each kind a mode compares, and the sums of their cosines (0 for no pairs)."""

    positives: int
    negatives: int
    positive_cosines: float
    negative_cosines: float


def totals(rows: Float[Tensor, "snippet 2 width"], ids: Int[Tensor, "snippet way"], mode: Mode) -> Totals:
    """The counts and cosine sums of all pairs of a mode, without looking at any pair.

    With one way the counts come from the component histogram h: Σ h(h-1) positives in a block of one modality, Σ h²
    in a cross block; the cosine sums come from the sums of the rows of each component in the same way. With two ways
    both are taken for each, and those of the snippets equal in both ways, counted twice, are taken off once.
    """
    if len(ids) == 0:
        return Totals(0, 0, 0.0, 0.0)
    signed = [(sign, *_summed(rows, component)) for sign, component in _inclusion_and_exclusion(ids)]
    whole = rows.sum(0)
    squares = rows.square().sum((0, 2))
    alike_pairs = sum(sign * int(histogram.square().sum()) for sign, histogram, _ in signed)
    positives = negatives = 0
    cosines: list[tuple[float, float]] = []
    for query, key in BLOCKS[mode]:
        itself, norms = (len(ids), float(squares[query])) if query == key else (0, 0.0)
        positives += alike_pairs - itself
        negatives += len(ids) ** 2 - alike_pairs
        inside = sum(sign * float((sums[:, query] * sums[:, key]).sum()) for sign, _, sums in signed)
        cosines.append((inside - norms, float(whole[query] @ whole[key]) - inside))
    return Totals(positives, negatives, sum(pair[0] for pair in cosines), sum(pair[1] for pair in cosines))


def _inclusion_and_exclusion(ids: Int[Tensor, "snippet way"]) -> list[tuple[int, Int[Tensor, " snippet"]]]:
    """Partitions of the snippets, numbered from 0, and signs: the signed sum over their parts counts positives once."""
    each = [way.unique(return_inverse=True)[1] for way in ids.unbind(1)]
    if len(each) == 1:
        return [(1, each[0])]
    first, second = each
    both = (first * (second.max() + 1) + second).unique(return_inverse=True)[1]
    return [(1, first), (1, second), (-1, both)]


def _summed(rows: Float[Tensor, "snippet 2 width"], part: Int[Tensor, " snippet"]) -> tuple[Tensor, Tensor]:
    """How many snippets each part has, and the sum of their rows."""
    histogram = part.bincount()
    return histogram, rows.new_zeros((len(histogram), *rows.shape[1:])).index_add_(0, part, rows)
