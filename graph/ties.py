"""What ties two snippets together: the chain of forest edges between them, and a component's edges for a drawing.

A forest's edges are not all edges of the graph, but they join what the graph joins, so any two snippets of a component
are tied by a chain of them. Of all chains the one with the fewest edges is taken; its weakest edge is the bridge
without which this chain would not hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
from jaxtyping import Bool, Float32, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order

from graph.forests.forest import Edges, Forest, components
from graph.report.largest import named
from graph.search.neighbours import NOBODY, Neighbours
from launch.atomic import whole_file
from shards.schema import SECONDS


@dataclass(frozen=True)
class Side:
    """One modality of a finished graph, as its folder holds it, or its pairs similar in both."""

    name: str
    threshold: float
    forest: Forest
    neighbours: Neighbours | None
    """None for scope = "video"."""
    hubs: Bool[np.ndarray, " snippet"]
    """Snippets with k neighbours at the hub similarity or more."""
    without: Bool[np.ndarray, " snippet"]
    """Those of the hubs that get no edges here: all of them, or none."""

    @property
    def cut(self) -> Edges:
        """The forest's edges above the threshold."""
        return self.forest.cut(self.threshold)

    def listed(self, members: Bool[np.ndarray, " snippet"]) -> Edges:
        """The listed pairs above the threshold with both ends among the members; a pair may come in both directions."""
        if self.neighbours is None:
            return Edges.none()
        snippets = np.flatnonzero(members & ~self.without)
        near, similar = self.neighbours.indices[snippets], self.neighbours.similarities[snippets]
        inside = (near != NOBODY) & (similar > np.float32(self.threshold)) & (members & ~self.without)[near]
        row, column = np.nonzero(inside)
        return Edges(snippets[row], near[row, column], similar[row, column])


@dataclass(frozen=True)
class Link:
    """One edge of a chain, in the direction of the chain."""

    to: int
    """The snippet it leads to."""
    modality: str
    similarity: float
    margin: float
    """How far the similarity is above its modality's threshold."""


class Ties:
    """The chains of some modalities' forests, cut at their thresholds and joined."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self._names = [side.name for side in sides]
        cuts = [side.cut for side in sides]
        self.literal: Int[np.ndarray, " snippet"] = components(sides[0].forest.nodes, cuts)
        """The connected components: what belongs together before any refinement."""
        edges = Edges.joined(cuts)
        side = np.repeat(np.arange(len(sides)), [len(cut) for cut in cuts])
        margin = edges.similarity - np.array([each.threshold for each in sides], np.float32)[side]
        first = np.minimum(edges.first, edges.second).astype(np.int64)
        pair = first * sides[0].forest.nodes + np.maximum(edges.first, edges.second)
        order = np.lexsort((-margin, pair))  # a pair in two forests goes by its stronger one
        kept = order[np.diff(pair[order], prepend=-1) != 0]
        self._edges, self._side, self._margin = edges.where(kept), side[kept], margin[kept]
        number = np.arange(1, len(kept) + 1)  # scipy drops zeros
        shape = (sides[0].forest.nodes, sides[0].forest.nodes)
        self._graph = csr_array((np.r_[number, number], self._both_ways()), shape=shape)

    def chain(self, start: int, end: int) -> list[Link] | None:
        """The shortest chain from one snippet to another; None where none ties them, empty for a snippet and itself."""
        if self.literal[start] != self.literal[end]:
            return None
        _, before = breadth_first_order(self._graph, end, directed=True, return_predecessors=True)
        links, here = [], start
        while here != end:
            there = int(before[here])
            edge = int(self._graph[here, there]) - 1
            name, similarity = self._names[self._side[edge]], float(self._edges.similarity[edge])
            links.append(Link(there, name, similarity, float(self._margin[edge])))
            here = there
        return links

    def _both_ways(self) -> tuple[np.ndarray, np.ndarray]:
        first, second = self._edges.first, self._edges.second
        return np.r_[first, second], np.r_[second, first]


def centre(members: Bool[np.ndarray, " snippet"], sides: Sequence[Side]) -> int:
    """The member with the most edges to other members (listed ones and the forests'); the first of equals."""
    degree = np.zeros(len(members))
    for edges in _edges(members, sides).values():
        degree += np.bincount(edges.first, minlength=len(members)) + np.bincount(edges.second, minlength=len(members))
    return int(np.argmax(np.where(members, degree, -1)))


def write_graphml(
    path: Path, members: Bool[np.ndarray, " snippet"], sides: Sequence[Side], keys: Sequence[str]
) -> tuple[int, int]:
    """Writes the members (`key`, `second`) and their edges (`modality`, `similarity`); returns how many of each.

    A node's id is `key@second`. Two snippets similar in both modalities have two edges; of match "all" they have one,
    of modality "both", and only where the forest has it, whose `similarity` is the smaller margin over the thresholds.
    """
    graph = nx.MultiGraph()
    chosen = np.flatnonzero(members)
    names = dict(zip(chosen.tolist(), named(chosen, keys), strict=True))
    for snippet, name in names.items():
        graph.add_node(name, key=keys[snippet // SECONDS], second=snippet % SECONDS)
    for modality, edges in _edges(members, sides).items():
        for number, (first, second, similarity) in enumerate(_rows(edges)):  # the key becomes the edge's id in the file
            ends = names[first], names[second]
            graph.add_edge(*ends, key=f"{modality}{number}", modality=modality, similarity=similarity)
    with whole_file(path) as temporary:
        nx.write_graphml(graph, temporary)
    return graph.number_of_nodes(), graph.number_of_edges()


def _edges(members: Bool[np.ndarray, " snippet"], sides: Sequence[Side]) -> Mapping[str, Edges]:
    """By modality, each pair of members once that is listed or in the forest, and above the threshold."""
    found = {}
    for side in sides:
        cut = side.cut
        edges = Edges.joined([side.listed(members), cut.where(members[cut.first] & members[cut.second])])
        low, high = np.minimum(edges.first, edges.second), np.maximum(edges.first, edges.second)
        _, once = np.unique(low.astype(np.int64) * len(members) + high, return_index=True)
        found[side.name] = Edges(low[once], high[once], edges.similarity[once])
    return found


def _rows(edges: Edges) -> Iterator[tuple[int, int, float]]:
    similarity: Float32[np.ndarray, " edge"] = edges.similarity
    yield from zip(edges.first.tolist(), edges.second.tolist(), similarity.tolist(), strict=True)
