"""Every threshold before the choice: the shape of the components, and π0, over thresholds, from the forests alone.

The grid of both modalities walks, for each audio threshold, from the audio forest's components over the visual
thresholds from the highest down, and each level merges what its new edges join (`graph.report.merging`). The numbers
of every cell are exactly those of components found anew; π0 is an estimate from a sample of pairs, with its interval.
Measured on 290,000 snippets, 2,500 cells, one core: 4.5 s, and 12 s with π0 from 4,000 pairs a cell; a second thread
gains nothing (most of it is short numpy calls).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int32

from graph.forests.forest import Forest
from graph.forests.saturated import HIGHEST
from graph.modality import Modality
from graph.positives.chance import Estimate, Unlike
from graph.report.merging import Growing, Merge, merges
from graph.report.reservoir import Reservoir
from graph.report.shape import Shape
from launch.progress import track
from shards.schema import SECONDS

STEPS = 50
"""Thresholds of each modality."""
PAIRS = 4000
"""Pairs a cell from which the grid's π0 is estimated: where it is 0.02, the interval is about 0.015 to 0.027."""
NUMBERS = (*Shape.__dataclass_fields__, "pi0", "pi0_low", "pi0_high")
"""What is known of a cell, by the names that facts and pages use."""

Sampler = Callable[[Growing, Sequence[Merge]], Reservoir]


@dataclass(frozen=True)
class Cell:
    """The components at one pair of thresholds (or at one threshold of one modality)."""

    shape: Shape
    pi0: Estimate
    """Share of same-component pairs of two videos that look random; of no pairs where none was asked for or is."""

    def numbers(self) -> dict[str, float]:
        """`NUMBERS`; π0 of no pairs is not a number."""
        known = (self.pi0.value, self.pi0.low, self.pi0.high) if self.pi0.pairs else (np.nan,) * 3
        return vars(self.shape) | dict(zip(NUMBERS[-3:], known, strict=True))


@dataclass(frozen=True)
class Curve:
    """One modality alone over rising thresholds."""

    thresholds: list[float]
    cells: list[Cell]

    def values(self, name: str) -> Float[np.ndarray, " threshold"]:
        """One of `NUMBERS`, by threshold."""
        return np.array([cell.numbers()[name] for cell in self.cells], float)

    def facts(self) -> dict[str, Any]:
        """JSON: the thresholds, and each of `NUMBERS` as a list."""
        return {"thresholds": self.thresholds} | {name: plain(self.values(name)) for name in NUMBERS}


@dataclass(frozen=True)
class Grid:
    """Edges of either modality: `cells[audio threshold][visual threshold]`, thresholds rising."""

    audio: list[float]
    visual: list[float]
    cells: list[list[Cell]]

    def values(self, name: str) -> Float[np.ndarray, "audio visual"]:
        """One of `NUMBERS`, by the two thresholds."""
        return np.array([[cell.numbers()[name] for cell in row] for row in self.cells], float)

    def facts(self) -> dict[str, Any]:
        """JSON: the thresholds, and each of `NUMBERS` as rows, one for each audio threshold."""
        rows = {name: [plain(row) for row in self.values(name)] for name in NUMBERS}
        return {"audio": self.audio, "visual": self.visual} | rows

    def place(self, audio: float, visual: float) -> tuple[int, int]:
        """Where a pair of thresholds is that the levels hold, as they do the chosen ones."""
        return self.audio.index(float(np.float32(audio))), self.visual.index(float(np.float32(visual)))


def plain(values: Float[np.ndarray, " value"]) -> list[float | None]:
    """Numbers for JSON: six digits, and null for what is not a number."""
    return [None if np.isnan(value) else float(f"{value:.6g}") for value in values.tolist()]


def levels(side: Modality, steps: int = STEPS) -> Float32[np.ndarray, " step"]:
    """At most `steps` rising thresholds: even ones from the floor up, quantiles of the forest's edges, the chosen one.

    The edges are those between two videos, where there are any; a third of the steps is even.
    """
    edges = side.forest.edges
    between = edges.where(edges.first // SECONDS != edges.second // SECONDS)
    similarity = between.similarity if len(between) else edges.similarity
    even = np.linspace(side.floor, HIGHEST, max(steps // 3, 2), dtype=np.float32)
    share = np.linspace(0, 1, max(steps - len(even) - 1, 0))
    inner = np.quantile(similarity, share).astype(np.float32) if len(similarity) else even
    inside = np.clip(np.concatenate([even, inner]), np.float32(side.floor), np.float32(HIGHEST))
    return np.union1d(inside, np.float32(side.threshold))


def curve(side: Modality, unlike: Unlike | None, seed: int, steps: int = STEPS, pairs: int = PAIRS) -> Curve:
    """One modality alone at its `levels`; `unlike` judges pairs for π0, which is left out without it."""
    thresholds, start = levels(side, steps), np.arange(side.forest.nodes, dtype=np.int32)
    return Curve(
        thresholds.tolist(),
        _row(start, side.forest, thresholds, _sampler(unlike, pairs, seed), f"{side.name} thresholds"),
    )


def grid(
    audio: Modality, visual: Modality, unlike: Unlike | None, seed: int, steps: int = STEPS, pairs: int = PAIRS
) -> Grid:
    """The two forests joined, the literal closure, at the `levels` of each; `unlike` as in `curve`."""
    rows, columns, cells = levels(audio, steps), levels(visual, steps), []
    sampler = _sampler(unlike, pairs, seed)
    for ids in track(_cuts(audio.forest, rows), "threshold grid", len(rows), "rows"):
        cells.append(_row(ids, visual.forest, columns, sampler))
    return Grid(rows.tolist(), columns.tolist(), cells[::-1])


def _sampler(unlike: Unlike | None, pairs: int, seed: int) -> Sampler | None:
    random = np.random.default_rng(seed)
    return (lambda start, steps: Reservoir(start, steps, unlike, pairs, random)) if unlike else None


def _cuts(forest: Forest, thresholds: Float32[np.ndarray, " step"]) -> Iterator[Int32[np.ndarray, " snippet"]]:
    """The components (0, 1, 2, … without gaps, in any order) at each threshold, from the highest down."""
    growing = Growing(np.arange(forest.nodes))
    for step in merges(growing.ids, forest.edges, _counts(forest, thresholds)):
        growing.apply(step)
        dense = np.cumsum(growing.sizes > 0, dtype=np.int32) - np.int32(1)
        yield dense.take(growing.ids)


def _row(
    ids: Int32[np.ndarray, " snippet"],
    forest: Forest,
    thresholds: Float32[np.ndarray, " step"],
    sampler: Sampler | None,
    what: str = "",
) -> list[Cell]:
    """The components `ids` joined by the forest's edges above each of the thresholds, which rise; shown as `what`."""
    growing = Growing(ids)
    steps = merges(ids, forest.edges, _counts(forest, thresholds))
    sample = sampler(growing, steps) if sampler else None
    cells: list[Cell] = []
    for step in track(steps, what, len(steps), "thresholds") if what else steps:
        if len(step.children) or not cells:
            growing.apply(step)
            cells.append(Cell(growing.shape(), sample.renew(growing) if sample else Estimate(0.0, 0.0, 1.0, 0)))
        else:
            cells.append(cells[-1])
    return cells[::-1]


def _counts(forest: Forest, thresholds: Float32[np.ndarray, " step"]) -> list[int]:
    """The forest's edges above each threshold, from the highest down."""
    return [len(forest.cut(float(threshold))) for threshold in thresholds[::-1]]
