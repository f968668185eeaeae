"""Pairs: which snippet embeddings are compared, which of them are positive, and how many that is.

A global batch of N snippets has an audio and a visual row each (or one of them), and in each way of belonging together
(one, or one a modality) a component id a snippet. Pairs are ordered; a pair is positive iff the components are equal in
any way; a row is never paired with itself, while the audio and the visual row of one second are a positive pair.
Equation (3) takes the audio–audio and visual–visual blocks, (4) the other two, (5) all four.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Mode = Literal["uni", "cross", "multi"]

AUDIO, VISUAL = 0, 1
BLOCKS: dict[Mode, tuple[tuple[int, int], ...]] = {
    "uni": ((AUDIO, AUDIO), (VISUAL, VISUAL)),
    "cross": ((AUDIO, VISUAL), (VISUAL, AUDIO)),
    "multi": ((AUDIO, AUDIO), (VISUAL, VISUAL), (AUDIO, VISUAL), (VISUAL, AUDIO)),
}


def alike(left: Int[Tensor, "left way"], right: Int[Tensor, "right way"]) -> Bool[Tensor, "left right"]:
    """Whether two snippets make a positive pair: whether their components are equal in any way."""
    same = left[:, 0, None] == right[None, :, 0]
    for way in range(1, left.shape[1]):
        same |= left[:, way, None] == right[None, :, way]
    return same


@dataclass(frozen=True)
class Rows:
    """Embeddings of one modality and their snippets' components, sorted by the first way's."""

    values: Float[Tensor, "row width"]
    ids: Int[Tensor, "row way"]


@dataclass(frozen=True)
class Snippets:
    """The snippets of the global batch in rank order, without their rows; the same on every rank but for `rank`."""

    ids: Int[Tensor, "snippet way"]
    """Components of each way numbered from 0."""
    present: Bool[Tensor, "snippet 2"]
    """Which snippets have an audio row, and which a visual one."""
    bounds: tuple[int, ...]
    """Rank r holds the snippets from bounds[r] to before bounds[r + 1]."""
    rank: int

    @property
    def ranks(self) -> int:
        return len(self.bounds) - 1

    @property
    def first(self) -> int:
        """Where this rank's snippets begin."""
        return self.bounds[self.rank]

    @cached_property
    def held(self) -> list[tuple[int, int]]:
        """How many audio and how many visual rows each rank has."""
        parts = zip(self.bounds, self.bounds[1:], strict=False)
        counts = [self.present[start:end].sum(0) for start, end in parts]
        return [(audio, visual) for audio, visual in torch.stack(counts).tolist()]

    def order(self, rank: int, modality: int) -> Int[Tensor, " row"]:
        """Which snippets the rows of a rank belong to, sorted by the first way's component."""
        start, end = self.bounds[rank], self.bounds[rank + 1]
        held = start + self.present[start:end, modality].nonzero().squeeze(1)
        return held[self.ids[held, 0].argsort(stable=True)]

    def count(self, mode: Mode, anchors: Int[Tensor, " anchor"] | None = None) -> tuple[int, int]:
        """How many ordered pairs a mode compares that are positive and negative, without looking at any pair.

        With anchors only the pairs that begin at one of those snippets. With one way Σ h(h-1) are positive in a block
        of one modality and Σ h h' in a cross block, h and h' being the rows each component has in the two modalities.
        With two ways both are taken, and the snippets equal in both ways, counted twice, are taken off once.
        """
        begin = self.present if anchors is None else torch.zeros_like(self.present)
        if anchors is not None:
            begin[anchors] = self.present[anchors]
        begins, ends = begin.sum(0).tolist(), self.present.sum(0).tolist()
        same = torch.zeros(2, 2, dtype=torch.int64, device=self.ids.device)
        for sign, part in _inclusion_and_exclusion(self.ids):
            same += sign * _histograms(part, begin).T @ _histograms(part, self.present)
        alike_pairs = same.tolist()
        positives = negatives = 0
        for query, key in BLOCKS[mode]:
            positives += alike_pairs[query][key] - (begins[query] if query == key else 0)
            negatives += begins[query] * ends[key] - alike_pairs[query][key]
        return positives, negatives


def _inclusion_and_exclusion(ids: Int[Tensor, "snippet way"]) -> list[tuple[int, Int[Tensor, " snippet"]]]:
    """Partitions of the snippets and signs: the signed sum over their parts counts positive pairs once."""
    if len(ids) == 0:
        return []
    each = ids.unbind(1)
    if len(each) == 1:
        return [(1, each[0])]
    first, second = each
    both = (first * (second.max() + 1) + second).unique(return_inverse=True)[1]
    return [(1, first), (1, second), (-1, both)]


def _histograms(part: Int[Tensor, " snippet"], present: Bool[Tensor, "snippet 2"]) -> Int[Tensor, "part 2"]:
    """How many audio and visual rows each part has."""
    counts = torch.zeros(int(part.max()) + 1, 2, dtype=torch.int64, device=part.device)
    return counts.index_add_(0, part, present.to(torch.int64))
