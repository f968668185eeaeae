"""A second opinion on the components: networkx on brute force, for a sample small enough to compare every pair of.

Whole components are drawn (seeded) until about two thousand snippets are together, and snippets of larger components
fill up what is left. Among the members of whole components the threshold graph must fall into exactly those
components; between any two of the sampled snippets in different components there must be no edge.

Pairs within `MARGIN` of a threshold may count either way (two float32 products of one pair differ in the last bits), so
the check is two-sided: a graph that needs similarities `MARGIN` above the thresholds may join nothing that the
components keep apart, and one that needs `MARGIN` below may leave nothing apart that they join.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from jaxtyping import Bool, Int

from graph.forests.saturated import MARGIN
from graph.modality import Modality
from shards.schema import SECONDS


@dataclass(frozen=True)
class Audit:
    """What the check covered and found."""

    snippets: int
    """Snippets of which every pair was compared."""
    components: int
    """Whole components among them."""
    edges: int
    wrongly_apart: int
    """Edges of the brute-force graph between two components: merges that the build missed."""
    wrongly_joined: int
    """Components that the brute-force graph does not hold together."""

    @property
    def agrees(self) -> bool:
        """Whether brute force and the build tell the same."""
        return self.wrongly_apart == 0 and self.wrongly_joined == 0

    def sentence(self) -> str:
        """The finding in words."""
        faults = f"{self.wrongly_apart} missed edges, {self.wrongly_joined} components that do not hold together"
        found = "agree" if self.agrees else f"DISAGREE ({faults})"
        return (
            f"Audit: brute force and networkx {found} on every pair of {self.snippets:,} snippets "
            f"({self.edges:,} edges, {self.components:,} whole components)."
        )


def audit(
    ids: Int[np.ndarray, " snippet"],
    sides: Sequence[Modality],
    match: str,
    scope: str,
    seed: int,
    snippets: int = 2000,
) -> Audit:
    """The check of a sample of about that many snippets; see the module."""
    chosen, whole = _sample(ids, seed, snippets)
    inside = ids[chosen]
    strict = _graph(chosen, sides, match, scope, +MARGIN)
    lax = _graph(chosen, sides, match, scope, -MARGIN)
    apart = sum(int(inside[one] != inside[other]) for one, other in strict.edges)
    pieces = Counter(
        component for piece in nx.connected_components(lax) for component in set(inside[list(piece)].tolist())
    )
    joined = sum(pieces[component] > 1 for component in whole.tolist())
    return Audit(len(chosen), len(whole), strict.number_of_edges(), apart, joined)


def _sample(
    ids: Int[np.ndarray, " snippet"], seed: int, snippets: int
) -> tuple[Int[np.ndarray, " chosen"], Int[np.ndarray, " component"]]:
    """At most `snippets` snippets in rising order, and the components that are among them whole."""
    random, sizes = np.random.default_rng(seed), np.bincount(ids)
    order = random.permutation(len(sizes))
    several, single = order[(sizes[order] > 1) & (sizes[order] <= snippets // 2)], order[sizes[order] == 1]
    several = several[np.cumsum(sizes[several]) <= snippets // 2]
    whole = np.concatenate([several, single[: snippets // 4]])
    inside = np.isin(ids, whole)
    rest = random.permutation(np.flatnonzero(~inside))[: max(snippets - int(inside.sum()), 0)]
    return np.sort(np.concatenate([np.flatnonzero(inside), rest])), whole


def _graph(
    chosen: Int[np.ndarray, " chosen"], sides: Sequence[Modality], match: str, scope: str, shift: float
) -> nx.Graph:
    """The threshold graph of the chosen snippets (nodes are places in `chosen`), every pair compared."""
    masks = [_similar(chosen, side, side.threshold + shift) for side in sides]
    similar = np.logical_and.reduce(masks) if match == "all" else np.logical_or.reduce(masks)
    if scope == "video":
        similar &= chosen[:, None] // SECONDS == chosen // SECONDS
    graph = nx.Graph()
    graph.add_nodes_from(range(len(chosen)))
    graph.add_edges_from((int(one), int(other)) for one, other in np.argwhere(np.triu(similar, 1)))
    return graph


def _similar(chosen: Int[np.ndarray, " chosen"], side: Modality, threshold: float) -> Bool[np.ndarray, "chosen chosen"]:
    with_edges = ~side.without[chosen]
    return (side.matrix.tile(chosen, chosen) > threshold) & with_edges & with_edges[:, None]
