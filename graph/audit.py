"""A second opinion on the components: networkx on brute force, for a sample small enough to compare every pair of.

Whole components are drawn (seeded) until about two thousand snippets are together, and snippets of larger components
fill up what is left. Among the members of whole components the threshold graph must fall into exactly those
components; between any two of the sampled snippets in different components there must be no edge.

Pairs within `MARGIN` of a threshold may count either way (two float32 products of one pair differ in the last bits), so
the check is two-sided: a graph that needs similarities `MARGIN` above the thresholds may join nothing that the
components keep apart, and one that needs `MARGIN` below may leave nothing apart that they join.

It is the closure that is checked, before refinement splits it. Of an approximate search it tells what was missed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from jaxtyping import Bool, Int

from graph.forests.forest import components
from graph.forests.saturated import MARGIN
from graph.modality import Modality
from graph.positives.decide import Outcome
from graph.rows.matrix import BLOCK
from shards.schema import SECONDS

PROBES = 1000
"""Snippets of an approximate search of which every pair with the whole corpus is compared."""


@dataclass(frozen=True)
class Audit:
    """What the check of one way to be positive covered and found."""

    way: str
    exact: bool
    """Whether the components are meant to be those of the whole threshold graph."""
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
    def faulty(self) -> bool:
        """Whether the build cannot be right: an approximate one may miss edges, and hold together by unlisted ones."""
        return self.exact and bool(self.wrongly_apart or self.wrongly_joined)

    def sentence(self) -> str:
        """The finding in words."""
        faults = f"{self.wrongly_apart} missed edges, {self.wrongly_joined} components that do not hold together"
        agree = not self.wrongly_apart and not self.wrongly_joined
        found = "agree" if agree else f"{'DISAGREE' if self.exact else 'differ'} ({faults})"
        return (
            f"Audit of the {self.way} components: brute force and networkx {found} on every pair of {self.snippets:,} "
            f"snippets ({self.edges:,} edges, {self.components:,} whole components)."
        )


@dataclass(frozen=True)
class Missed:
    """What an approximate search of one modality missed, as far as some probes tell."""

    name: str
    engine: str
    probes: int
    """Snippets that were compared with all others."""
    edges: int
    """Pairs above the threshold that they have."""
    apart: int
    """How many of these lie between two components of this modality: joined by them in the whole threshold graph."""
    merges: int
    """Components that these pairs would join."""

    faulty = False

    def sentence(self) -> str:
        """The finding in words."""
        return (
            f"Audit of the approximate {self.name} search ({self.engine}): of {self.edges:,} pairs above the threshold "
            f"that {self.probes:,} sampled snippets have, {self.apart:,} lie between two components that they would "
            f"join ({self.merges:,} merges missed among these alone)."
        )


Checked = Audit | Missed


def checks(outcome: Outcome, match: str, scope: str, seed: int, snippets: int) -> list[Checked]:
    """A check of each way to be positive and of each approximate search.

    Raises RuntimeError where brute force contradicts a build that is exact.
    """
    sides, ways = outcome.sides, outcome.literal.shape[1]
    parts = [("joint", sides)] if ways == 1 else [(side.name, (side,)) for side in sides]
    found: list[Checked] = [
        audit(name, outcome.literal[:, way], part, match, scope, seed, snippets)
        for way, (name, part) in enumerate(parts)
    ]
    found += [missed(side, seed) for side in sides if not side.exact]
    for each in found:
        if each.faulty:
            raise RuntimeError(f"{each.sentence()} This is a fault of the program: the graph was not written.")
    return found


def audit(
    way: str,
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
    exact = all(side.exact for side in sides)
    return Audit(way, exact, len(chosen), len(whole), strict.number_of_edges(), apart, joined)


def missed(side: Modality, seed: int, probes: int = PROBES) -> Missed:
    """What an approximate search missed at its modality's threshold, told by probes that are searched exhaustively."""
    ids = components(len(side.matrix), [side.forest.cut(side.threshold)])
    usable = np.flatnonzero(~side.without)
    chosen = np.sort(np.random.default_rng(seed).permutation(usable)[:probes])
    unit = side.matrix.unit(chosen)
    first, second = [], []
    for start in range(0, len(side.matrix), BLOCK):
        others = np.arange(start, min(start + BLOCK, len(side.matrix)))
        row, column = np.nonzero(unit @ side.matrix.unit(others).T > np.float32(side.threshold))
        first.append(chosen[row])
        second.append(others[column])
    one, other = np.concatenate(first), np.concatenate(second)
    edges = (one != other) & ~side.without[other]
    apart = edges & (ids[one] != ids[other])
    joins = np.sort(np.stack([ids[one[apart]], ids[other[apart]]], axis=1), axis=1)
    found, local = np.unique(joins, return_inverse=True)
    graph = nx.Graph(local.reshape(-1, 2).tolist())
    merges = len(found) - nx.number_connected_components(graph) if len(found) else 0
    return Missed(side.name, side.engine, len(chosen), int(edges.sum()), int(apart.sum()), merges)


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
