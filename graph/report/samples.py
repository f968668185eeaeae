"""How similar snippets are: cosines of sampled pairs of one modality, by what the two have to do with each other."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from graph.modality import Modality
from graph.rows.matrix import BLOCK
from shards.schema import SECONDS

NEAREST = 400
"""Snippets whose most similar one in another video is looked for among all: 3 s for 290,000 snippets on one core."""


@dataclass(frozen=True)
class Samples:
    """Cosines of one modality's sampled pairs, each kind drawn at random; of snippets that have edges."""

    other_video: Float32[np.ndarray, " pair"]
    """Two snippets of different videos, at random."""
    next_second: Float32[np.ndarray, " pair"]
    """A snippet and the one after it."""
    nearest: Float32[np.ndarray, " pair"]
    """A snippet and its most similar one in another video, found among all snippets (lists end at the floor)."""


def samples(side: Modality, seed: int, count: int = 40_000, queries: int = NEAREST) -> Samples:
    """Sampled similarities, at most `count` of the first two kinds and `queries` of the third."""
    random, allowed = np.random.default_rng(seed), np.flatnonzero(~side.without)
    if not len(allowed):
        return Samples(*np.empty((3, 0), np.float32))
    first, second = random.choice(allowed, (2, count))
    other = first // SECONDS != second // SECONDS
    before = allowed[(allowed % SECONDS < SECONDS - 1) & ~np.append(side.without[1:], True)[allowed]]
    before = np.sort(random.permutation(before)[:count])
    return Samples(
        side.matrix.pairs(first[other], second[other]),
        side.matrix.pairs(before, before + 1),
        _nearest(side, np.sort(random.permutation(allowed)[:queries])),
    )


def _nearest(side: Modality, chosen: Int[np.ndarray, " chosen"]) -> Float32[np.ndarray, " pair"]:
    """The highest cosine of each of the chosen with a snippet of another video; left out where there is none."""
    queries, best = side.matrix.unit(chosen), np.full(len(chosen), -np.inf, np.float32)
    for start in range(0, len(side.matrix), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(side.matrix)))
        cosines = queries @ side.matrix.unit(slice(start, start + BLOCK)).T
        hidden = (chosen[:, None] // SECONDS == block // SECONDS) | side.without[block]
        cosines[hidden] = -np.inf
        best = np.maximum(best, cosines.max(axis=1))
    return best[best > -np.inf]
