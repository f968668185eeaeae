"""What the graph is held against: a graph of every pair, a pipeline of stock parts, and the rate of this processor."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import networkx as nx
import numpy as np
from jaxtyping import Float32, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from graph.modality import Modality
from graph.rows.matrix import Matrix
from launch.progress import track

MARGIN = 1e-5
"""Cosine: a threshold is compared at only if no edge that changes components lies as near."""
ROWS = 1000


def subset(matrix: Matrix, snippets: int) -> Matrix:
    """The first snippets of a matrix."""
    part = slice(snippets)
    return replace(matrix, rows=matrix.rows[part], zero=matrix.zero[part], digests=matrix.digests[part])


@dataclass(frozen=True)
class Everything:
    """Every pair of snippets with a cosine above a floor, compared one row block against all."""

    snippets: int
    first: Int[np.ndarray, " edge"]
    second: Int[np.ndarray, " edge"]
    cosine: Float32[np.ndarray, " edge"]

    @classmethod
    def above(cls, matrix: Matrix, floor: float) -> "Everything":
        """All of a matrix; rows that are all zero have a cosine of 0."""
        rows = np.asarray(matrix.rows, np.float32)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        found = []
        for start in track(range(0, len(rows), ROWS), f"every {matrix.feature} pair", unit=f"× {ROWS} rows"):
            cosine = rows[start : start + ROWS] @ rows[start:].T
            row, column = np.nonzero(np.triu(cosine, 1) > floor)
            found.append((row + start, column + start, cosine[row, column]))
        return cls(len(rows), *(np.concatenate(column) for column in zip(*found, strict=True)))

    def less_hubs(self, side: Modality, similarity: float) -> "Everything":
        """What is left without the modality's hubs, which are checked first: k others at the similarity or above."""
        assert side.neighbours is not None, "the benchmark builds over the corpus"
        low, high = (self._near(similarity + step) >= side.neighbours.k for step in (-MARGIN, MARGIN))
        assert (low | ~side.hubs).all(), "a hub is none by the graph of every pair"
        assert (side.hubs | ~high).all(), "a hub by the graph of every pair is none"
        kept = ~side.without[self.first] & ~side.without[self.second]
        return Everything(self.snippets, self.first[kept], self.second[kept], self.cosine[kept])

    def _near(self, similarity: float) -> Int[np.ndarray, " snippet"]:
        """How many others each snippet has at the similarity or above."""
        near = self.cosine >= np.float32(similarity)
        return np.bincount(np.r_[self.first[near], self.second[near]], minlength=self.snippets)

    def cut(self, threshold: float) -> np.ndarray:
        """The pairs above the threshold, as two rows of snippets."""
        above = self.cosine > np.float32(threshold)
        return np.stack([self.first[above], self.second[above]])


def labels(snippets: int, cuts: Sequence[np.ndarray]) -> Int[np.ndarray, " snippet"]:
    """The components of the pairs of all cuts together."""
    first, second = np.concatenate(cuts, axis=1)
    return connected_components(coo_array((np.ones(len(first), np.int8), (first, second)), (snippets, snippets)))[1]


def clear_thresholds(graphs: Sequence[Everything], sides: Sequence[Modality], count: int) -> Iterator[list[float]]:
    """Thresholds of each modality, spread over its forest, such that `MARGIN` up or down changes no component.

    That is tested on the graph of every pair, not on the forest; fewer than `count` only if there are no more.
    """
    by_side = [list(_clear(graph, side, count)) for graph, side in zip(graphs, sides, strict=True)]
    yield from map(list, zip(*by_side, strict=False))


def _clear(graph: Everything, side: Modality, count: int) -> Iterator[float]:
    similarity = side.forest.edges.similarity.astype(np.float64)[::-1]
    similarity = np.concatenate([[side.floor], similarity[similarity > side.floor], [1]])
    middle, width = (similarity[1:] + similarity[:-1]) / 2, np.diff(similarity)
    middle = middle[(width > 4 * MARGIN) & (middle < 0.995)]
    for part in np.array_split(middle, count):
        for threshold in part[:20]:
            low, high = (labels(graph.snippets, [graph.cut(threshold + step)]).max() for step in (-MARGIN, MARGIN))
            if low == high:
                yield float(threshold)
                break


def agreement(one: Int[np.ndarray, " snippet"], other: Int[np.ndarray, " snippet"]) -> float:
    """The adjusted Rand index of two labellings: 1 where they are the same."""
    return float(adjusted_rand_score(one, other))


def stock_components(matrices: Sequence[Matrix], thresholds: Sequence[float]) -> Int[np.ndarray, " snippet"]:
    """Components as one would write them with scikit-learn's radius neighbours and networkx; no hub is excluded."""
    graph = nx.Graph()
    graph.add_nodes_from(range(len(matrices[0])))
    for matrix, threshold in zip(matrices, thresholds, strict=True):
        rows = np.asarray(matrix.rows, np.float32)
        near = NearestNeighbors(metric="cosine", algorithm="brute", n_jobs=-1).fit(rows)
        found = near.radius_neighbors_graph(rows, radius=1 - threshold, mode="connectivity")
        graph.add_edges_from(zip(*found.nonzero(), strict=True))
    ids = np.empty(len(matrices[0]), np.int64)
    for number, members in enumerate(nx.connected_components(graph)):
        ids[list(members)] = number
    return ids


def products_per_second(width: int, seconds: float = 1.0) -> float:
    """Floating-point operations a second of float32 products of two blocks of 4096 rows, all cores; the median."""
    left, right = np.random.default_rng(0).standard_normal((2, 4096, width), np.float32)
    out, taken, until = left @ right.T, [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(taken) < 3:
        start = time.perf_counter()
        np.matmul(left, right.T, out=out)
        taken.append(time.perf_counter() - start)
    return 2 * 4096**2 * width / median(taken)
