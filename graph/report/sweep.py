"""Every threshold before the choice: the shape of the components over thresholds, from the forests alone.

A forest that was built once answers any threshold in milliseconds, so the whole curve and the grid of both modalities
cost seconds.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from graph.forests.forest import components
from graph.forests.saturated import HIGHEST
from graph.modality import Modality
from launch.progress import track
from shards.schema import SECONDS


@dataclass(frozen=True)
class Shape:
    """The components of one graph, in numbers."""

    components: int
    singletons: int
    largest_share: float
    """Share of all snippets that are in the largest component."""
    second_share: float
    chained_share: float
    """Share of all snippets that are in the largest component of several videos; 0 where none spans two."""
    linked_share: float
    """Share of snippets whose component holds a snippet of another video."""
    positive_chance: float
    """Chance that a random pair of snippets of two different videos is positive."""


def shape(ids: Int[np.ndarray, " snippet"]) -> Shape:
    """The numbers of a labelling, ids 0, 1, 2, … without gaps; snippet `n` is second `n % 10` of video `n // 10`."""
    sizes = np.bincount(ids)
    videos = len(ids) // SECONDS
    in_video = np.unique(ids * videos + np.arange(len(ids)) // SECONDS, return_counts=True)
    spans = np.bincount(in_video[0] // videos) > 1
    largest = np.sort(sizes)[::-1]
    same = float((sizes.astype(float) ** 2).sum() - (in_video[1].astype(float) ** 2).sum())
    pairs = float(len(ids)) ** 2 - videos * SECONDS**2
    return Shape(
        components=len(sizes),
        singletons=int((sizes == 1).sum()),
        largest_share=float(largest[0]) / len(ids),
        second_share=float(largest[1]) / len(ids) if len(sizes) > 1 else 0.0,
        chained_share=float(sizes[spans].max(initial=0)) / len(ids),
        linked_share=float(spans[ids].mean()),
        positive_chance=same / pairs if pairs else 0.0,
    )


@dataclass(frozen=True)
class Curve:
    """One modality alone over rising thresholds."""

    thresholds: list[float]
    shapes: list[Shape]


@dataclass(frozen=True)
class Grid:
    """Edges of either modality: `shapes[audio threshold][visual threshold]`."""

    audio: list[float]
    visual: list[float]
    shapes: list[list[Shape]]


def curve(side: Modality, steps: int = 40) -> Curve:
    """The shapes at `steps` thresholds from the floor up: evenly spaced ones, and quantiles of the forest's edges."""
    thresholds = np.union1d(_even(side, steps // 2), _quantiles(side, steps - steps // 2))
    shapes = [
        shape(components(side.forest.nodes, [side.forest.cut(threshold)]))
        for threshold in track(thresholds, f"{side.name} thresholds", len(thresholds), "thresholds")
    ]
    return Curve(thresholds.tolist(), shapes)


def grid(audio: Modality, visual: Modality, steps: int = 12) -> Grid:
    """The shapes of the two forests joined, over quantiles of either's edges and the chosen thresholds."""
    audio_steps, visual_steps = (
        np.union1d(_quantiles(side, steps - 1), np.float32(side.threshold)) for side in (audio, visual)
    )
    shapes = [
        [
            shape(components(audio.forest.nodes, [audio.forest.cut(one), visual.forest.cut(other)]))
            for other in visual_steps
        ]
        for one in track(audio_steps, "threshold grid", len(audio_steps), "rows")
    ]
    return Grid(audio_steps.tolist(), visual_steps.tolist(), shapes)


def _even(side: Modality, steps: int) -> Float32[np.ndarray, " step"]:
    return np.linspace(side.floor, HIGHEST, steps, dtype=np.float32)


def _quantiles(side: Modality, steps: int) -> Float32[np.ndarray, " step"]:
    """Thresholds that split the forest's edges (those between two videos, where there are any) evenly."""
    edges = side.forest.edges
    between = edges.where(edges.first // SECONDS != edges.second // SECONDS)
    similarity = between.similarity if len(between) else edges.similarity
    inner = np.quantile(similarity, np.linspace(0, 1, steps)) if len(similarity) else np.array([side.floor])
    return np.unique(np.clip(inner.astype(np.float32), np.float32(side.floor), np.float32(HIGHEST)))
