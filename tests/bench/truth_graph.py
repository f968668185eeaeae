"""Components against what was planted, counted over every pair: no sample, no estimate.

A *pair* is two snippets of two different videos. It is positive when the components of either way are equal (one way of
`joint`, two of `per_modality`), and *wrong* when it is positive although the snippets share neither what sounds nor
what is seen. A silent or black snippet shares nothing by being so; of a mixed second only the stronger content counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from shards.schema import SECONDS
from tests.bench.planted_graph import NONE, Truth


@dataclass(frozen=True)
class Verdict:
    """A labelling against the truth, as shares."""

    largest: float
    """Of all snippets, those in the largest component."""
    wrong: float
    """Of the positive pairs, those that share no content; 0 where there is no positive pair."""
    linked: float
    """Of all snippets, those with a positive in another video."""
    found: float
    """Of the pairs that share a content, those that are positive."""


def verdict(ids: Int[np.ndarray, "snippet way"], truth: Truth) -> Verdict:
    """What was planted says this of the components."""
    ways = list(ids.T)
    shared = _either(ways, [truth.audio, truth.visual])
    positive, everything = _either(ways, []), _either([np.zeros(len(ids), int)], [truth.audio, truth.visual])
    return Verdict(
        largest=max(float(np.bincount(way).max()) for way in ways) / len(ids),
        wrong=1 - shared / positive if positive else 0.0,
        linked=float(np.logical_or.reduce([_spans(way) for way in ways]).mean()),
        found=shared / everything if everything else 0.0,
    )


def _either(ways: Sequence[np.ndarray], contents: Sequence[np.ndarray]) -> int:
    """Pairs that are equal in a way and, where contents are given, equal in one of them too (inclusion, exclusion)."""
    total = 0
    for sign, some in _unions(ways):
        if not contents:
            total += sign * _pairs(some)
        for inner, other in _unions(contents):
            total += sign * inner * _pairs([*some, *other])
    return total


def _unions(columns: Sequence[np.ndarray]) -> list[tuple[int, list[np.ndarray]]]:
    """The terms of |A ∪ B| = |A| + |B| − |A ∩ B|, for one column or two."""
    alone = [(1, [column]) for column in columns]
    return [*alone, (-1, list(columns))] if len(columns) == 2 else alone


def _pairs(columns: Sequence[np.ndarray]) -> int:
    """Pairs of snippets of two videos that are equal in every column, NONE being equal to nothing."""
    some = np.flatnonzero(np.logical_and.reduce([column != NONE for column in columns]))
    key = np.zeros(len(some), np.int64)
    for column in columns:
        key = np.unique(key * (int(column.max(initial=0)) + 1) + column[some], return_inverse=True)[1]
    in_video = np.unique(key * (len(columns[0]) // SECONDS + 1) + some // SECONDS, return_counts=True)[1]
    sizes = np.bincount(key).astype(object)  # whole numbers without end
    return int((sizes**2).sum() - (in_video.astype(object) ** 2).sum()) // 2


def _spans(way: Int[np.ndarray, " snippet"]) -> np.ndarray:
    """The snippets whose component holds one of another video."""
    videos = len(way) // SECONDS
    first = np.full(int(way.max(initial=0)) + 1, videos)
    last = np.full(len(first), -1)
    np.minimum.at(first, way, np.arange(len(way)) // SECONDS)
    np.maximum.at(last, way, np.arange(len(way)) // SECONDS)
    return (first < last)[way]
