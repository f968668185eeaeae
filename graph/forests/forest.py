"""Maximum spanning forests: two small lists of edges that hold the components at every threshold.

Two facts carry this room (both are tests):

- *Cuts.* Cutting a maximum spanning forest at τ leaves exactly the components of the whole graph cut at τ. (If two
  snippets are joined by a path whose every edge is above τ, the forest's own path between them is above τ as well: a
  weaker edge on it could be exchanged for one of that path's, and the forest would not have been maximal.)
- *Unions.* A maximum spanning forest of a union of graphs is one of the union of their forests, and the components of
  a union are those of the union of the forests. So a forest grows block by block, memory stays at `nodes + block`
  edges, and any pair of thresholds (τ_audio, τ_visual) is answered from two forests.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int, Int64
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from launch.refusal import Refusal

FORMAT = "soundsight-forest-v2"
ABOUT = b"soundsight"


@dataclass(frozen=True)
class Edges:
    """Undirected edges in any order; `first` and `second` are snippets, `similarity` a cosine."""

    first: Int[np.ndarray, " edge"]
    second: Int[np.ndarray, " edge"]
    similarity: Float32[np.ndarray, " edge"]

    def __len__(self) -> int:
        return len(self.similarity)

    def where(self, mask: np.ndarray | slice) -> "Edges":
        """The edges that a boolean mask, a slice or an index array selects."""
        return Edges(self.first[mask], self.second[mask], self.similarity[mask])

    @classmethod
    def none(cls) -> "Edges":
        """No edges."""
        nodes = np.empty(0, np.int32)
        return cls(nodes, nodes, np.empty(0, np.float32))

    @classmethod
    def joined(cls, parts: Sequence["Edges"]) -> "Edges":
        """All the edges of several lists; of an empty list of lists, no edges."""
        if not parts:
            return cls.none()
        return cls(
            np.concatenate([part.first for part in parts]),
            np.concatenate([part.second for part in parts]),
            np.concatenate([part.similarity for part in parts]),
        )


@dataclass(frozen=True)
class Forest:
    """A maximum spanning forest over `nodes` snippets, its edges sorted by falling similarity: a cut is a prefix."""

    nodes: int
    edges: Edges

    @classmethod
    def empty(cls, nodes: int) -> "Forest":
        """The forest of a graph without edges: every snippet alone."""
        return cls(nodes, Edges.none())

    @classmethod
    def grown(cls, nodes: int, blocks: Iterable[Edges]) -> "Forest":
        """The forest of all the blocks' edges; only one block and one forest are in memory at a time."""
        forest = cls.empty(nodes)
        for block in blocks:
            forest = forest.merge(block)
        return forest

    def merge(self, edges: Edges) -> "Forest":
        """The forest of this forest's edges and more of them (another forest's edges, or any graph's)."""
        return Forest(self.nodes, _spanning(self.nodes, Edges.joined([self.edges, edges]))) if len(edges) else self

    def cut(self, threshold: float) -> Edges:
        """The edges with similarity > threshold, strictly, the threshold rounded to float32 as similarities are."""
        above = np.searchsorted(-self.edges.similarity, -np.float32(threshold), side="left")
        return self.edges.where(slice(int(above)))

    def save(self, path: Path, header: Mapping[str, str]) -> None:
        """Writes the edges as parquet rows (i, j, similarity) by falling similarity, so a threshold is a prefix."""
        about = json.dumps({**header, "format": FORMAT, "nodes": self.nodes}, sort_keys=True)
        columns = {"i": self.edges.first, "j": self.edges.second, "similarity": self.edges.similarity}
        table = pa.table(columns).replace_schema_metadata({ABOUT: about})
        pq.write_table(table, path, compression="zstd", use_dictionary=False)

    @classmethod
    def load(cls, path: Path) -> tuple["Forest", dict[str, str]]:
        """The forest of a file and its header; raises Refusal for a file that is not a forest in falling order."""
        try:
            table = pq.read_table(path)
            header = json.loads((table.schema.metadata or {}).get(ABOUT, b"{}"))
            edges = Edges(*(table.column(name).to_numpy() for name in ("i", "j", "similarity")))
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise Refusal(
                f"A forest must be a parquet file of i, j, similarity, but '{path}' is not ({error}): build again."
            ) from None
        if header.get("format") != FORMAT or not _sound(edges, int(header["nodes"])):
            raise Refusal(
                f"A forest's edges must fall in similarity between known snippets, but '{path}' does not "
                "hold such edges (altered, or another program's): build the graph again."
            )
        return cls(int(header["nodes"]), edges), header


def components(nodes: int, cuts: Iterable[Edges]) -> Int[np.ndarray, " snippet"]:
    """The component of each snippet in the union of the cuts: 0, 1, 2, … by first appearance, int64.

    A snippet without an edge has a component of its own. Milliseconds for two forests of a hundred thousand edges.
    """
    edges = Edges.joined(list(cuts))
    ones = np.ones(len(edges), np.int8)
    graph = csr_array((ones, (edges.first, edges.second)), shape=(nodes, nodes))
    _, labels = connected_components(graph, directed=False)
    return numbered(labels)


def numbered(labels: Int[np.ndarray, " snippet"]) -> Int64[np.ndarray, " snippet"]:
    """The same parts of the snippets, numbered 0, 1, 2, … by first appearance."""
    _, first, dense = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[dense]


def _spanning(nodes: int, edges: Edges) -> Edges:
    """The edges of a maximum spanning forest, by falling similarity; each keeps its own float32 similarity.

    scipy gets an edge's rank (1 for the most similar) for its weight: a spanning tree depends on the order of the
    weights alone, ranks have no ties (so the result is one, whatever the sort), none is zero (scipy drops explicit
    zeros, which loses the edges of identical snippets with `1 - cosine`), and the rank leads back to the edge.
    """
    edges = _distinct(nodes, edges)
    edges = edges.where(np.argsort(-edges.similarity, kind="stable"))
    rank = np.arange(1, len(edges) + 1, dtype=np.float64)
    graph = csr_array((rank, (edges.first, edges.second)), shape=(nodes, nodes))
    kept = np.sort(minimum_spanning_tree(graph).data).astype(np.int64) - 1
    return edges.where(kept)


def _distinct(nodes: int, edges: Edges) -> Edges:
    """Each pair once, at its highest similarity, `first` < `second`; no snippet joined to itself.

    scipy adds up doubled entries, and a pair comes twice when each end lists the other.
    """
    low, high = np.minimum(edges.first, edges.second), np.maximum(edges.first, edges.second)
    pair = low.astype(np.int64) * nodes + high
    order = np.lexsort((-edges.similarity, pair))
    pair, low, high = pair[order], low[order], high[order]
    keep = (np.diff(pair, prepend=-1) != 0) & (low != high)
    return Edges(low[keep], high[keep], edges.similarity[order][keep])


def _sound(edges: Edges, nodes: int) -> bool:
    ends = np.concatenate([edges.first, edges.second])
    kinds = edges.first.dtype.kind == edges.second.dtype.kind == "i" and edges.similarity.dtype == np.float32
    lengths = kinds and len(edges.first) == len(edges.second) == len(edges.similarity) <= max(nodes - 1, 0)
    inside = not len(ends) or (ends.min() >= 0 and ends.max() < nodes)
    return bool(lengths and inside and np.all(np.diff(edges.similarity) <= 0))
