"""One modality's side of the graph: its forest, exact from the floor up, and what was found on the way.

`scope = "corpus"`: neighbour lists, hubs, the forest of the listed edges, then the join of saturated snippets.
`scope = "video"`: only the pairs inside one video, compared exhaustively; there are no lists and no hubs.
`match = "all"` needs a third forest, of the pairs that are similar in both modalities, for one pair of thresholds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from graph.forests.forest import Edges, Forest
from graph.forests.saturated import join
from graph.ranks import Ranks
from graph.rows.matrix import Matrix
from graph.search.blocks import compared
from graph.search.neighbours import Neighbours
from launch.progress import track
from shards.schema import SECONDS

Scope = Literal["corpus", "video"]


@dataclass(frozen=True)
class Modality:
    """What one modality contributes; masks are over snippets."""

    name: str
    matrix: Matrix
    threshold: float
    """Cosine above which two snippets are similar in this modality; at or above the floor."""
    floor: float
    """Cosine: every threshold at or above it is exact."""
    forest: Forest
    neighbours: Neighbours | None
    """None for scope = "video"."""
    bar: Float32[np.ndarray, " snippet"]
    """Cosine above which a snippet's list lacks no pair: its k-th similarity, or the floor if it lists fewer than k."""
    hubs: Bool[np.ndarray, " snippet"]
    """Snippets with k neighbours at the hub similarity or more, whether or not they are excluded."""
    without: Bool[np.ndarray, " snippet"]
    """Snippets that get no edges: all zero, or excluded hubs."""
    saturated: Bool[np.ndarray, " snippet"]
    """Snippets whose lists are full above the floor: edges that they leave out come from comparing every pair."""
    copies: int
    """Snippets that are an exact copy of an earlier one."""
    engine: str
    exact: bool
    """Whether every threshold from the floor up gives the components of the full threshold graph."""


def build_videos(name: str, matrix: Matrix, floor: float) -> Modality:
    """The modality over the pairs of snippets of the same video."""
    snippets = len(matrix)
    none = np.zeros(snippets, bool)
    forest = Forest.grown(snippets, _within_videos([matrix], [floor], f"{name} within videos"))
    bar = np.full(snippets, floor, np.float32)
    return Modality(
        name, matrix, floor, floor, forest, None, bar, none, matrix.zero, none, 0, "within videos", exact=True
    )


def build_both(audio: Modality, visual: Modality) -> Forest:
    """The forest of the pairs similar in both modalities; cut it at 0.

    A pair's weight is the smaller of its two margins, similarity − threshold. Every pair with both margins above 0 is
    found: it is in a list of one of the modalities, or (by the claim in `saturated`) both its ends are saturated at
    the threshold in both, and all such snippets are compared with each other.
    """
    without = audio.without | visual.without
    thresholds = [audio.threshold, visual.threshold]
    if audio.neighbours is None or visual.neighbours is None:
        pairs = _within_videos([audio.matrix, visual.matrix], thresholds, "both within videos")
        return Forest.grown(len(without), pairs)
    listed = Forest.empty(len(without))
    for one, other in ((audio, visual), (visual, audio)):
        for edges in _also(listed_edges(one, without, f"both, listed in {one.name}", one.threshold), one, other):
            listed = listed.merge(edges)
    full = (audio.bar >= audio.threshold) & (visual.bar >= visual.threshold) & ~without
    saturated = np.flatnonzero(full).astype(np.int32)
    candidates = compared(audio.matrix, saturated, audio.threshold, Ranks(), "both saturated")
    return join(listed, _also(candidates, audio, visual), 0.0)


def listed_edges(
    side: Modality, without: Bool[np.ndarray, " snippet"], what: str, above: float, block: int = 32768
) -> Iterator[Edges]:
    """A modality's listed pairs above a similarity, but for those with an end in `without`; blocks of snippets pass."""
    assert side.neighbours is not None
    blocks = ceil(len(without) / block)
    return track(side.neighbours.edges(above, without, block), what, blocks, f"× {block} snippets")


def _also(pairs: Iterator[Edges], one: Modality, other: Modality) -> Iterator[Edges]:
    """The pairs of one modality that are similar in the other too, weighed by their smaller margin."""
    for edges in pairs:
        also = other.matrix.pairs(edges.first, edges.second) - np.float32(other.threshold)
        weight = np.minimum(edges.similarity - np.float32(one.threshold), also)
        yield Edges(edges.first, edges.second, weight).where(weight > 0)


def _within_videos(matrices: list[Matrix], floors: list[float], what: str, videos: int = 64) -> Iterator[Edges]:
    """The edges between seconds of one video that are above the floor in every matrix, `videos` videos at a time.

    With several matrices an edge weighs its smallest margin over the floors; with one, its similarity.
    """
    nodes = len(matrices[0])
    starts = range(0, nodes, videos * SECONDS)
    for start in track(starts, what, len(starts), f"× {videos} videos"):
        snippets = np.arange(start, min(start + videos * SECONDS, nodes), dtype=np.int32)
        tiles = [matrix.tile(snippets, snippets) for matrix in matrices]
        above = np.logical_and.reduce([tile > np.float32(floor) for tile, floor in zip(tiles, floors, strict=True)])
        row, column = np.nonzero(above)
        inside = (row // SECONDS == column // SECONDS) & (row < column)
        row, column = row[inside], column[inside]
        margins = [tile[row, column] - np.float32(floor) for tile, floor in zip(tiles, floors, strict=True)]
        weight = tiles[0][row, column] if len(tiles) == 1 else np.minimum.reduce(margins)
        yield Edges(snippets[row], snippets[column], weight)
