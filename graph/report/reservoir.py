"""Positive pairs on a walk over growing components: a uniform sample at every level, compared only where it is new."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from graph.positives.chance import Estimate, Unlike, doubled
from graph.report.merging import Growing, Merge, places
from shards.schema import SECONDS


class Reservoir:
    """`count` pairs of snippets of two videos in one component, uniform with replacement, and how many are unlike.

    At each level every slot draws a pair from all there are. A pair that the level before did not hold yet takes the
    slot; else what is in the slot stays. That is a uniform sample again: the chance of a new pair is their share, and
    what stays was uniform over the old ones. So cosines, which cost most, are taken of new pairs only.
    """

    def __init__(
        self,
        start: Growing,
        steps: Sequence[Merge],
        unlike: Unlike,
        count: int,
        random: np.random.Generator,
    ) -> None:
        """For a walk from `start` over all the `steps`."""
        self._place = places(start.sizes, steps)
        self._order = np.argsort(self._place[start.ids], kind="stable")
        self._below = np.zeros(count, bool)
        self._before: Int32[np.ndarray, " snippet"] | None = None
        self._unlike, self._random = unlike, random

    def renew(self, now: Growing) -> Estimate:
        """π0 of the components as they are now, called once a level; of no pairs where none spans two videos."""
        linked = now.linked
        labels = np.flatnonzero(linked)
        if len(labels):
            first, second = self._draw(labels, linked[labels])
            new = self._news(first, second)
            self._below[new] = self._unlike(first[new], second[new])
        self._before = now.ids
        slots = len(self._below) if len(labels) else 0
        return doubled(int(self._below[:slots].sum()), slots)

    def _news(self, first: Int[np.ndarray, " slot"], second: Int[np.ndarray, " slot"]) -> Bool[np.ndarray, " slot"]:
        """Which pairs the level before did not hold."""
        if self._before is None:
            return np.ones(len(first), bool)
        return self._before[first] != self._before[second]

    def _draw(
        self, labels: Int64[np.ndarray, " linked"], sizes: Int64[np.ndarray, " linked"]
    ) -> tuple[Int[np.ndarray, " slot"], Int[np.ndarray, " slot"]]:
        """A pair for every slot: any two members of one component, until they are of two videos."""
        until = np.cumsum(sizes**2)
        count = len(self._below)
        first, second = np.empty((2, 0), np.int64)
        wanted = count  # most components are of many videos, and few pairs are drawn in vain
        while len(first) < count:
            number = self._random.integers(0, until[-1], wanted)
            which = np.searchsorted(until, number, side="right")
            one, other = np.divmod(number - until[which] + sizes[which] ** 2, sizes[which])
            pair = self._order[self._place[labels[which]] + np.stack([one, other])]
            pair = pair[:, pair[0] // SECONDS != pair[1] // SECONDS]
            first, second = np.append(first, pair[0]), np.append(second, pair[1])
            wanted = 2 * (count - len(first)) + 16
        return first[:count], second[:count]
