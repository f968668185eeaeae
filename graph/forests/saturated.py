"""The edges that lists of k neighbours leave out, joined: after this, every threshold at or above the floor is exact.

*Claim.* Let the lists be exact and call a snippet saturated when its k-th similarity is at least the floor. Then any
pair with similarity w > floor that is in neither list has two saturated ends. *Proof.* If j is not in i's list, the
list holds k others at least as similar to i as j is, so i's k-th similarity is ≥ w > floor: i is saturated. By
symmetry so is j. ∎ Nothing is assumed about ties: of many snippets equally near, whichever the list keeps, the
k-th is ≥ w.

So the listed edges and all edges among saturated snippets make the whole graph above the floor, and its maximum
spanning forest cut at any τ ≥ floor gives the components of the full threshold graph. The claim survives the removal of
snippets (hubs) from the graph, since it holds for every pair on its own, and holds for originals alone, whose copies
are joined to them at similarity 1. Two matrix products of one pair may differ in the last bits, so a threshold within
`MARGIN` of some pair's similarity may count that pair either way.

A block engine that kept every pair above the floor needs no second comparison: those pairs are the whole graph. The
claim is what makes faiss exact, and a search whose pairs were too many to keep.

*Skipping.* A candidate pair whose ends the forest already joins by a path no weaker than itself changes no cut. Cuts at
a ladder of levels are labelled once; a candidate is skipped when the lowest level at or above its similarity joins its
ends. What remains is merged, and the ladder renewed, whenever a buffer fills: memory does not grow with the candidates.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from graph.forests.forest import Edges, Forest, components

MARGIN = 1e-5
"""Cosine: more than two float32 products of the same unit rows ever differ by."""
HIGHEST = 0.9999
"""Cosine: the highest threshold that is told apart; above it, rounding decides between identical snippets."""
BUFFER = 2_000_000
"""Candidates that may matter, merged at a time."""


def join(forest: Forest, candidates: Iterable[Edges], floor: float, buffer: int = BUFFER) -> Forest:
    """The forest with all candidates added, none of them at or below the floor; merged by the `buffer`."""
    ladder: _Ladder | None = None
    waiting: list[Edges] = []
    count = 0
    for edges in candidates:
        ladder = ladder or _Ladder.of(forest, floor)
        found = ladder.news(edges)
        waiting.append(found)
        count += len(found)
        if count > buffer:
            forest = forest.merge(Edges.joined(waiting))
            ladder, waiting, count = None, [], 0
    return forest.merge(Edges.joined(waiting))


@dataclass(frozen=True)
class _Ladder:
    """The components of a forest cut at rising levels."""

    levels: Float32[np.ndarray, " level"]
    labels: Int[np.ndarray, "level snippet"]

    @classmethod
    def of(cls, forest: Forest, floor: float, rungs: int = 24) -> "_Ladder":
        similarity = np.minimum(forest.edges.similarity, np.float32(HIGHEST))
        inner = np.quantile(similarity, np.linspace(0, 1, rungs), method="lower") if len(similarity) else []
        levels = np.unique(np.append(inner, np.float32(floor)).astype(np.float32))
        below = (np.nextafter(level, np.float32(-1)) for level in levels)  # a path may be as weak as the level itself
        labels = [components(forest.nodes, [forest.cut(level)]).astype(np.int32) for level in below]
        return cls(levels, np.stack(labels))

    def news(self, edges: Edges) -> Edges:
        """The edges that may change a cut: those whose ends no path at least as strong joins yet."""
        rung = np.searchsorted(self.levels, np.minimum(edges.similarity, np.float32(HIGHEST)), side="left")
        inside = np.minimum(rung, len(self.levels) - 1)
        joined = self.labels[inside, edges.first] == self.labels[inside, edges.second]
        return edges.where(~joined | (rung == len(self.levels)))
