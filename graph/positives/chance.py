"""How alike snippets are by chance, and the share of same-component pairs that look no more alike than that (π0).

π0 is Storey's estimate at λ = ½: half the pairs of unlike snippets lie below the median of random pairs, next to none
of the pairs of like ones do, so twice the share below the median estimates the share of unlike pairs, without labels.
It errs downwards: strangers that end up in one component are more alike than random ones (planted classes at right
angles, 22% found where 29% were wrong; classes that resemble each other can hide ten times what is found).
Random pairs are of two different videos, and so are the pairs that are judged: seconds of one video are alike anyway.

A snippet that has no edges in a modality (an all-zero row, an excluded hub) says nothing in it: silence is as similar
to silence as can be, and not for meaning the same. Such snippets are not among the random pairs, and a pair with such
an end gets no rank in that modality.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int64
from scipy.special import betaincinv

from graph.modality import Modality
from shards.schema import SECONDS

Unlike = Callable[[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]], Bool[np.ndarray, " pair"]]
"""Of each pair of snippets (`first[n]`, `second[n]`), whether it lies on the lower half of what chance gives."""


@dataclass(frozen=True)
class Estimate:
    """A share with its 95% interval (Clopper and Pearson's, for the pairs' being a sample)."""

    value: float
    low: float
    high: float
    pairs: int
    """Pairs looked at; with none the value is 0 and the interval all of [0, 1]."""


@dataclass(frozen=True)
class Chance:
    """The cosines of random pairs of snippets of two videos in one modality, both ends with edges allowed."""

    cosines: Float32[np.ndarray, " pair"]
    """Rising; empty where fewer than two videos have a snippet with edges."""

    @classmethod
    def drawn(cls, side: Modality, pairs: int, seed: int) -> "Chance":
        """The cosines of `pairs` random pairs, with replacement; of every pair there is, where there are no more."""
        alone = np.arange(1, len(side.without) + 1)
        crossing = Crossing.of(np.where(side.without, alone, 0))
        return cls(np.sort(side.matrix.pairs(*crossing.some(pairs, np.random.default_rng(seed)))))

    @property
    def median(self) -> float:
        """The cosine that half of the random pairs lie below; 0 without any."""
        return float(np.median(self.cosines)) if len(self.cosines) else 0.0

    def rank(self, cosines: Float32[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
        """Of each cosine the share of random pairs that are less similar, strictly, in [0, 1]; 0 without any."""
        return np.searchsorted(self.cosines, cosines, side="left") / max(len(self.cosines), 1)


@dataclass(frozen=True)
class Crossing:
    """The pairs of snippets of two videos in one component, numbered without being listed.

    Every snippet has a place in the order of (component, video). Its component takes up the places from `start` to
    `stop`, its video's part of that component those from `own_start` to `own_stop`; its partners are the rest.
    """

    order: Int[np.ndarray, " place"]
    """The snippet at each place."""
    start: Int[np.ndarray, " place"]
    own_start: Int[np.ndarray, " place"]
    own_stop: Int[np.ndarray, " place"]
    stop: Int[np.ndarray, " place"]
    until: Int64[np.ndarray, " place"]
    """Partners of all places up to and including this one: an ordered pair has a number below the last of these."""

    @classmethod
    def of(cls, ids: Int64[np.ndarray, " snippet"]) -> "Crossing":
        """The pairs of a labelling; the ids may be any whole numbers."""
        order = np.argsort(ids, kind="stable")  # stable: inside a component by snippet, so by video
        component, video = ids[order], order // SECONDS
        new_component = np.diff(component, prepend=component[:1] - 1) != 0
        new_video = new_component | (np.diff(video, prepend=-1) != 0)
        start, stop = _runs(new_component)
        own_start, own_stop = _runs(new_video)
        partners = (stop - start) - (own_stop - own_start)
        return cls(order, start, own_start, own_stop, stop, np.cumsum(partners, dtype=np.int64))

    @property
    def count(self) -> int:
        """Pairs there are, each counted once."""
        return int(self.until[-1]) // 2 if len(self.until) else 0

    @property
    def partners(self) -> Int64[np.ndarray, " place"]:
        """Of each place, the snippets of other videos in its component."""
        return np.diff(self.until, prepend=np.int64(0))

    @property
    def largest(self) -> float:
        """The share of all snippets in the largest component of several videos; 0 where none spans two."""
        return float((self.stop - self.start)[self.partners > 0].max(initial=0)) / max(len(self.order), 1)

    def some(self, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """`count` pairs drawn uniformly, with replacement; all of them, each once, where there are no more."""
        if self.count <= count:
            return self.all()
        return self.numbered(random.integers(0, self.until[-1], count))

    def numbered(self, numbers: Int64[np.ndarray, " pair"]) -> tuple[np.ndarray, np.ndarray]:
        """The ordered pairs with these numbers; the pairs of one component have consecutive ones."""
        place = np.searchsorted(self.until, numbers, side="right")
        partner = self.start[place] + numbers - (self.until[place] - self.partners[place])
        partner += np.where(partner >= self.own_start[place], self.own_stop[place] - self.own_start[place], 0)
        return self.order[place], self.order[partner]

    def all(self, places: Bool[np.ndarray, " place"] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Every pair once; only those of the components at the given places, when given."""
        later = self.stop - self.own_stop if places is None else np.where(places, self.stop - self.own_stop, 0)
        place = np.repeat(np.arange(len(later)), later)
        partner = self.own_stop[place] + np.arange(len(place)) - np.repeat(np.cumsum(later) - later, later)
        return self.order[place], self.order[partner]


def same_component_pairs(
    ids: Int64[np.ndarray, " snippet"], count: int, random: np.random.Generator
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """`count` pairs of snippets of two videos in one component, uniform over all such pairs, with replacement.

    Where there are no more than `count` such pairs: all of them, each once; none where no component spans two videos.
    """
    return Crossing.of(ids).some(count, random)


def alone(side: Modality, chance: Chance) -> Unlike:
    """The test of one modality: a pair is unlike when its cosine lies below the median of random pairs."""
    return lambda first, second: side.matrix.pairs(first, second) < chance.median


def joint(sides: Sequence[Modality], chances: Sequence[Chance]) -> Unlike:
    """The test of all modalities together: a pair is unlike when max(rank)² < ½, the square that of two modalities.

    Of a pair that is unlike in every modality, the ranks are uniform in [0, 1], and so is max(rank)^m of m modalities.
    m counts those in which both ends have edges; a pair that has none in common is counted as unlike: nothing speaks
    for it. (Alike in one modality is enough for a high maximum, as it is for an edge.)
    """

    def unlike(first: Int[np.ndarray, " pair"], second: Int[np.ndarray, " pair"]) -> Bool[np.ndarray, " pair"]:
        judges = [~(side.without[first] | side.without[second]) for side in sides]
        enough = 0.5 ** (1 / np.maximum(np.sum(judges, axis=0), 1))  # the rank that makes a pair alike: ½, √½, …
        below = np.ones(len(first), bool)
        for side, chance, judging in zip(sides, chances, judges, strict=True):
            asked = np.flatnonzero(judging & below)  # a pair alike in one modality needs no other
            rank = chance.rank(side.matrix.pairs(first[asked], second[asked]))
            below[asked] = rank < enough[asked]
        return below

    return unlike


def pi0(ids: Int64[np.ndarray, " snippet"], unlike: Unlike, pairs: int, seed: int) -> Estimate:
    """Twice the share of unlike pairs among `pairs` same-component pairs of two videos, at most 1, and its interval."""
    first, second = same_component_pairs(ids, pairs, np.random.default_rng(seed))
    return doubled(int(unlike(first, second).sum()), len(first))


def doubled(below: int, pairs: int) -> Estimate:
    """π0 where `below` of `pairs` pairs lie below the median."""
    low = betaincinv(below, pairs - below + 1, 0.025) if below else 0.0
    high = betaincinv(below + 1, pairs - below, 0.975) if below < pairs else 1.0
    return Estimate(min(2 * below / max(pairs, 1), 1.0), min(2 * float(low), 1.0), min(2 * float(high), 1.0), pairs)


def _runs(new: Bool[np.ndarray, " place"]) -> tuple[Int[np.ndarray, " place"], Int[np.ndarray, " place"]]:
    """The first place of the run that each place is in, and the first behind it; a run starts where `new` is True."""
    starts = np.flatnonzero(new)
    run = np.cumsum(new) - 1
    return starts[run], np.append(starts[1:], len(new))[run]
