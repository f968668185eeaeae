"""A modality's threshold without labels: the lowest at which, and above which, its components do not look random.

Each modality is looked at alone, on its own components, hubs left out and nothing refined yet. Going down from the
highest level, components grow and chains appear: π0 (`graph.positives.chance`) and the largest component rise, and the
walk stops at the first level that breaks a limit. What lies below it is not looked at: from there up is what counts.

Levels lie midway between two neighbouring similarities of the forest, so that the last bits of a product (of another
processor, or on a GPU) do not decide what a level joins.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pydantic import Field

from graph.forests.forest import components
from graph.forests.saturated import HIGHEST, MARGIN
from graph.modality import Modality
from graph.positives.chance import Chance, Crossing, Estimate, alone, doubled
from launch.progress import track
from launch.settings import Settings
from shards.schema import SECONDS


class ThresholdSettings(Settings):
    """What a graph without labels is judged by."""

    pi0: float = Field(
        0.02, gt=0, lt=1, description="largest share of same-component pairs of two videos that may look random (π0)"
    )
    largest: float = Field(
        0.05, gt=0, le=1, description="largest share of all snippets that one component of several videos may hold"
    )
    pairs: int = Field(
        20_000, ge=20_000, description="pairs of snippets drawn: at random for comparison, and for each estimate of π0"
    )
    levels: int = Field(40, ge=4, description="thresholds from the floor up that an automatic choice may look at")


@dataclass(frozen=True)
class Level:
    """One modality's components at one threshold, in numbers."""

    threshold: float
    components: int
    linked: float
    """Share of snippets whose component holds a snippet of another video."""
    largest: float
    """Share of all snippets in the largest component of several videos; 0 where none spans two."""
    pi0: Estimate

    def fits(self, settings: ThresholdSettings) -> bool:
        """Whether both limits are kept."""
        return self.pi0.value <= settings.pi0 and self.largest <= settings.largest

    def __str__(self) -> str:
        """The numbers in words, for sentences."""
        return (
            f"π0 {self.pi0.value:.4f} (95% interval {self.pi0.low:.4f} to {self.pi0.high:.4f}, {self.pi0.pairs:,} "
            f"pairs), largest component {self.largest:.1%} of the snippets"
        )


@dataclass(frozen=True)
class Choice:
    """The threshold of one modality, and why."""

    threshold: float
    levels: tuple[Level, ...]
    """Every level that was looked at, from the highest down; the last may be the one that broke a limit."""
    reason: str
    """One sentence."""
    clean: bool
    """False where every level that links two videos breaks a limit."""


def choose(side: Modality, chance: Chance, settings: ThresholdSettings, seed: int) -> Choice:
    """The lowest threshold from the floor up that keeps both limits, there and at every higher level.

    Where the highest level that links two videos already breaks one, the choice is not clean: that level if its pairs
    do not look random (a component is only large, as in small corpora), else the one above it, which links nothing.
    Where none breaks one: the floor. Where not one edge joins two videos, nothing can be measured and nothing can be
    wrong: the floor.
    """
    if side.neighbours is None:
        reason = f"No two videos are compared (scope video), so the {side.name} floor, {side.floor:g}, is taken."
        return Choice(side.floor, (), reason, True)
    if not (side.forest.edges.first // SECONDS != side.forest.edges.second // SECONDS).any():
        reason = f"No {side.name} pair of two videos is above the floor, so the floor itself, {side.floor:g}, is taken."
        return Choice(side.floor, (), reason, True)
    looked: list[Level] = []
    steps = _levels(side, settings.levels)[::-1]
    for threshold in track(steps, f"{side.name} threshold", len(steps), "levels"):
        looked.append(level(side, float(threshold), chance, settings.pairs, seed))
        if not looked[-1].fits(settings):
            break
    return _chosen(side, looked, settings)


def level(side: Modality, threshold: float, chance: Chance, pairs: int, seed: int) -> Level:
    """The modality's own components at a threshold, in numbers."""
    ids = components(side.forest.nodes, [side.forest.cut(threshold)])
    crossing = Crossing.of(ids)
    first, second = crossing.some(pairs, np.random.default_rng(seed))
    below = int(alone(side, chance)(first, second).sum())
    linked = float((crossing.partners > 0).mean())
    return Level(threshold, int(ids.max(initial=-1)) + 1, linked, crossing.largest, doubled(below, len(first)))


def _levels(side: Modality, count: int) -> Float[np.ndarray, " level"]:
    """Rising, at most `count` from the floor up: half meant evenly, half where the edges between two videos are.

    Every level but the floor is moved into a gap between neighbouring similarities of the forest, of those nearer to it
    than to another level: the nearest gap of two MARGINs or more, else the widest. Levels without a gap are left out.
    """
    edges, floor = side.forest.edges, float(side.floor)
    between = edges.similarity[edges.first // SECONDS != edges.second // SECONDS].astype(float)
    dense = np.quantile(between, np.linspace(0, 1, count - count // 2))
    even = np.linspace(floor, HIGHEST, count // 2)[1:]
    meant = np.unique(np.clip(np.concatenate([even, dense]), floor, HIGHEST))
    value = np.unique(np.append(edges.similarity.astype(float), floor))
    below, above = value, np.append(value[1:], 1.0)
    middle = np.minimum((below + above) / 2, HIGHEST)
    wide, gap = above - below >= 2 * MARGIN, np.flatnonzero(below < HIGHEST)
    nearest = np.searchsorted((meant[1:] + meant[:-1]) / 2, middle)
    cost = np.where(wide, np.abs(middle - meant[nearest]), below - above)
    order = gap[np.lexsort((cost[gap], ~wide[gap], nearest[gap]))]
    best = order[np.diff(nearest[order], prepend=-1) != 0]
    return np.unique(np.append(middle[best], floor))


def _chosen(side: Modality, looked: list[Level], settings: ThresholdSettings) -> Choice:
    limits = f"π0 ≤ {settings.pi0:g} and a largest component of at most {settings.largest:.0%} of the snippets"
    last, name = looked[-1], side.name
    if not last.fits(settings) and not any(each.linked for each in looked[:-1]):
        taken = last if len(looked) == 1 or last.pi0.value <= settings.pi0 else looked[-2]
        reason = (
            f"No {name} threshold that links two videos keeps {limits}: at the highest, {last.threshold:.4f}, {last}; "
            f"{taken.threshold:.4f} is taken, which links {taken.linked:.1%} of the snippets. Look at the {name} "
            "feature and at its hubs before you train on these components."
        )
        return Choice(taken.threshold, tuple(looked), reason, False)
    if last.fits(settings):
        reason = (
            f"Every {name} threshold down to the floor keeps {limits}, so the floor is taken, {last.threshold:.4f}: "
            f"{last}. A lower --floor_{name} may link more."
        )
        return Choice(last.threshold, tuple(looked), reason, True)
    chosen = looked[-2]
    reason = (
        f"{chosen.threshold:.4f} is the lowest {name} threshold looked at that keeps {limits}, there and at "
        f"every higher level: {chosen}; at the next level down, {last.threshold:.4f}, {last}."
    )
    return Choice(chosen.threshold, tuple(looked), reason, True)
