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
from jaxtyping import Bool, Float32, Int

from graph.forests.forest import Edges, Forest
from graph.forests.saturated import Score, join, saturated
from graph.rows.matrix import Matrix
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
    hubs: Bool[np.ndarray, " snippet"]
    """Snippets with k neighbours at the hub similarity or more, whether or not they are excluded."""
    without: Bool[np.ndarray, " snippet"]
    """Snippets that get no edges: all zero, or excluded hubs."""
    saturated: Bool[np.ndarray, " snippet"]
    """Snippets that were compared with each other exhaustively."""


def build_corpus(
    name: str,
    matrix: Matrix,
    neighbours: Neighbours,
    limits: tuple[float, float],
    hub_similarity: float,
    exclude_hubs: bool,
) -> Modality:
    """The modality over all pairs of the corpus, from its exact neighbour lists; `limits` are (threshold, floor)."""
    threshold, floor = limits
    hubs = neighbours.hubs(hub_similarity)
    without = matrix.zero | hubs if exclude_hubs else matrix.zero
    listed = Forest.grown(len(matrix), _listed(neighbours, floor, without, f"{name} forest"))
    full = saturated(neighbours.weakest, floor, without)
    forest = join(listed, np.flatnonzero(full).astype(np.int32), matrix.tile, floor, f"{name} saturated")
    return Modality(name, matrix, threshold, floor, forest, neighbours, hubs, without, full)


def build_videos(name: str, matrix: Matrix, limits: tuple[float, float]) -> Modality:
    """The modality over the pairs of snippets of the same video; `limits` are (threshold, floor)."""
    threshold, floor = limits
    none = np.zeros(len(matrix), bool)
    forest = Forest.grown(len(matrix), _within_videos(len(matrix), matrix.tile, floor, name))
    return Modality(name, matrix, threshold, floor, forest, None, none, matrix.zero, none)


def build_both(audio: Modality, visual: Modality) -> Forest:
    """The forest of the pairs similar in both modalities; cut it at 0.

    A pair's weight is the smaller of its two margins, similarity − threshold. Every pair with both margins above 0 is
    found: it is in a list of one of the modalities, or (by the claim in `saturated`) both its ends are saturated at
    the threshold in both, and all such snippets are compared with each other.
    """
    without = audio.without | visual.without
    nodes = len(without)

    def margin(left: Int[np.ndarray, " left"], right: Int[np.ndarray, " right"]) -> Float32[np.ndarray, "left right"]:
        return np.minimum(
            audio.matrix.tile(left, right) - np.float32(audio.threshold),
            visual.matrix.tile(left, right) - np.float32(visual.threshold),
        )

    if audio.neighbours is None or visual.neighbours is None:
        return Forest.grown(nodes, _within_videos(nodes, margin, 0.0, "both"))
    listed = Forest.empty(nodes)
    for one, other in ((audio, visual), (visual, audio)):
        for edges in _also(one, other, without):
            listed = listed.merge(edges)
    full = saturated(audio.neighbours.weakest, audio.threshold, without)
    full &= saturated(visual.neighbours.weakest, visual.threshold, without)
    return join(listed, np.flatnonzero(full).astype(np.int32), margin, 0.0, "both saturated")


def _also(one: Modality, other: Modality, without: Bool[np.ndarray, " snippet"]) -> Iterator[Edges]:
    """The pairs listed in one modality that are similar in the other too, weighed by their smaller margin."""
    assert one.neighbours is not None
    for edges in _listed(one.neighbours, one.threshold, without, f"both, listed in {one.name}"):
        also = other.matrix.pairs(edges.first, edges.second) - np.float32(other.threshold)
        weight = np.minimum(edges.similarity - np.float32(one.threshold), also)
        yield Edges(edges.first, edges.second, weight).where(weight > 0)


def _listed(
    neighbours: Neighbours, floor: float, without: Bool[np.ndarray, " snippet"], what: str, block: int = 32768
) -> Iterator[Edges]:
    """The listed pairs above the floor, `block` snippets' at a time, shown as they pass."""
    blocks = ceil(len(without) / block)
    return track(neighbours.edges(floor, without, block), what, blocks, f"× {block} snippets")


def _within_videos(nodes: int, score: Score, floor: float, name: str, videos: int = 64) -> Iterator[Edges]:
    """The edges above the floor between seconds of one video, `videos` videos compared at a time."""
    starts = range(0, nodes, videos * SECONDS)
    for start in track(starts, f"{name} within videos", len(starts), f"× {videos} videos"):
        snippets = np.arange(start, min(start + videos * SECONDS, nodes), dtype=np.int32)
        similarity = score(snippets, snippets)
        row, column = np.nonzero(similarity > np.float32(floor))
        inside = (row // SECONDS == column // SECONDS) & (row < column)
        row, column = row[inside], column[inside]
        yield Edges(snippets[row], snippets[column], similarity[row, column])
