"""The edges that lists of k neighbours leave out, found: after this, every threshold at or above the floor is exact.

*Claim.* Let the lists be exact and call a snippet saturated when its k-th similarity is at least the floor. Then any
pair with similarity w > floor that is in neither list has two saturated ends. *Proof.* If j is not in i's list, the
list holds k others at least as similar to i as j is, so i's k-th similarity is ≥ w > floor: i is saturated. By
symmetry so is j. ∎ Nothing is assumed about ties: of many snippets equally near, whichever the list keeps, the
k-th is ≥ w.

So the listed edges and all edges among saturated snippets make the whole graph above the floor, and its maximum
spanning forest cut at any τ ≥ floor gives the components of the full threshold graph. The claim survives the removal of
snippets (hubs) from the graph, since it holds for every pair on its own. Two matrix products of one pair may differ in
the last bits, so saturation is judged `MARGIN` below the floor, and a threshold within `MARGIN` of some pair's
similarity may count that pair either way.

*Skipping.* A candidate pair whose ends the forest already joins by a path no weaker than itself changes no cut. Cuts at
a ladder of levels are labelled once; a candidate is skipped when the lowest level at or above its similarity joins its
ends. What remains is merged, and the ladder renewed, whenever a buffer fills: memory does not grow with the candidates.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int

from graph.forests.forest import Edges, Forest, components
from launch.progress import track

MARGIN = 1e-5
"""Cosine: more than two float32 products of the same unit rows ever differ by."""
HIGHEST = 0.9999
"""Cosine: the highest threshold that is told apart; above it, rounding decides between identical snippets."""
TILE = 2048
BUFFER = 2_000_000

Score = Callable[[Int[np.ndarray, " left"], Int[np.ndarray, " right"]], Float32[np.ndarray, "left right"]]
"""The similarities of two lists of snippets."""


def join(
    forest: Forest,
    snippets: Int[np.ndarray, " chosen"],
    score: Score,
    floor: float,
    what: str = "saturated",
    tile: int = TILE,
    buffer: int = BUFFER,
) -> Forest:
    """The forest with every edge above the floor among the chosen snippets (rising order) added; each pair once.

    Given all snippets and an empty forest it is the exhaustive graph itself. `tile` snippets by `tile` are compared at
    a time; edges that may matter are merged by the `buffer`.
    """
    ladder, waiting, count = _Ladder.of(forest, floor), [], 0
    tiles = list(_tiles(len(snippets), tile))
    for rows, columns in track(tiles, f"{what} pairs", len(tiles), "tiles"):
        found = ladder.news(_above(snippets[rows], snippets[columns], score, floor))
        waiting.append(found)
        count += len(found)
        if count > buffer:
            forest = forest.merge(Edges.joined(waiting))
            ladder, waiting, count = _Ladder.of(forest, floor), [], 0
    return forest.merge(Edges.joined(waiting))


def saturated(
    weakest: Float32[np.ndarray, " snippet"], floor: float, without: Bool[np.ndarray, " snippet"]
) -> Bool[np.ndarray, " snippet"]:
    """Which snippets' lists may lack edges above the floor (k-th similarity at the floor or more), less `without`."""
    return (weakest >= np.float32(floor - MARGIN)) & ~without


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


def _above(left: np.ndarray, right: np.ndarray, score: Score, floor: float) -> Edges:
    similarity = score(left, right)
    row, column = np.nonzero(similarity > np.float32(floor))
    edges = Edges(left[row], right[column], similarity[row, column])
    return edges.where(edges.first < edges.second)  # the tiles on the diagonal hold each pair twice


def _tiles(count: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Half of the square of `count` snippets, diagonal included."""
    for row in range(0, count, tile):
        for column in range(row, count, tile):
            yield slice(row, row + tile), slice(column, column + tile)
