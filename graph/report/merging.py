"""The components of a graph that gains edges level by level, and their numbers; a level costs what it changes.

Merging keeps the label of one of the components that it joins. So the tables of a component (its size, its videos) are
arrays over the labels at the start, of which fewer and fewer are in use, and one gather renews the snippets' labels:
on 290,000 snippets a level costs about a millisecond, where finding components anew costs fifty.

`places` orders the snippets so that every component of every level is one stretch of that order. A random member of a
component is then one look-up, at any level, and no list of members is ever made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int32, Int64
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from graph.forests.forest import Edges
from graph.report.shape import Shape, ends
from shards.schema import SECONDS


@dataclass(frozen=True)
class Merge:
    """What one level joins: components in groups, each group beginning with the one whose label it keeps."""

    children: Int32[np.ndarray, " touched"]
    starts: Int64[np.ndarray, " group"]
    """Where each group begins in `children`."""
    sizes: Int64[np.ndarray, " touched"]
    """Snippets in each of the children, before they are joined."""

    @property
    def parents(self) -> Int32[np.ndarray, " touched"]:
        """The label that each of the children has afterwards."""
        counts = np.diff(np.append(self.starts, len(self.children)))
        return np.repeat(self.children[self.starts], counts)


def merges(ids: Int[np.ndarray, " snippet"], edges: Edges, counts: Sequence[int]) -> list[Merge]:
    """What each level joins, starting from components `ids` (0, 1, 2, … without gaps); nothing of snippets is touched.

    `counts` rises: level n has the first `counts[n]` edges.
    """
    sizes = np.bincount(ids)
    root = np.arange(len(sizes), dtype=np.int32)
    ends = np.stack([ids[edges.first[: counts[-1]]], ids[edges.second[: counts[-1]]]])
    found = []
    for before, after in zip([0, *counts[:-1]], counts, strict=True):
        merge = _merge(root[ends[:, before:after]], sizes)
        if len(merge.children):
            parent = np.arange(len(sizes), dtype=np.int32)
            parent[merge.children] = merge.parents
            root = parent.take(root)
            sizes[merge.children] = 0
            sizes[merge.children[merge.starts]] = np.add.reduceat(merge.sizes, merge.starts)
        found.append(merge)
    return found


def _merge(ends: Int32[np.ndarray, "2 edge"], sizes: Int64[np.ndarray, " label"]) -> Merge:
    """The groups that edges between components make of them."""
    ends = ends[:, ends[0] != ends[1]]
    touched = np.zeros(len(sizes), bool)
    touched[ends.ravel()] = True
    children = np.flatnonzero(touched).astype(np.int32)
    if not len(children):
        return Merge(children, np.empty(0, np.int64), np.empty(0, np.int64))
    place = np.empty(len(sizes), np.int32)
    place[children] = np.arange(len(children), dtype=np.int32)
    graph = csr_array((np.ones(ends.shape[1]), tuple(place[ends])), shape=(len(children), len(children)))
    _, group = connected_components(graph, directed=False)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return Merge(children[order], starts, sizes[children[order]])


def places(sizes: Int64[np.ndarray, " label"], steps: Sequence[Merge]) -> Int64[np.ndarray, " label"]:
    """Where each component begins in an order of the snippets that keeps every later component together too.

    `sizes` are those at the start, one for each label. A component that keeps its label keeps its place.
    """
    sizes = sizes.copy()
    for step in steps:
        sizes[step.children] = 0
        sizes[step.children[step.starts]] = np.add.reduceat(step.sizes, step.starts) if len(step.starts) else 0
    place = np.cumsum(sizes) - sizes
    for step in reversed(steps):
        inside = np.cumsum(step.sizes) - step.sizes
        counts = np.diff(np.append(step.starts, len(step.children)))
        place[step.children] = place[step.parents] + inside - np.repeat(inside[step.starts], counts)
    return place


class Growing:
    """The components of a graph that gains edges, with what `Shape` counts kept up to date."""

    def __init__(self, ids: Int[np.ndarray, " snippet"]) -> None:
        """Starts from components 0, 1, 2, … without gaps; snippet `n` is second `n % 10` of video `n // 10`."""
        self.ids: Int32[np.ndarray, " snippet"] = ids.astype(np.int32)
        self.sizes: Int64[np.ndarray, " label"] = np.bincount(ids)
        """Snippets by label; 0 for labels that are no longer in use."""
        self._low, self._high = ends(ids)
        self._parent = np.arange(len(self.sizes), dtype=np.int32)

    @property
    def linked(self) -> Int64[np.ndarray, " label"]:
        """Snippets by label, 0 for the components that lie in one video."""
        return np.where(self._low != self._high, self.sizes, 0)

    def apply(self, step: Merge) -> None:
        """Joins components."""
        if not len(step.children):
            return
        kept = step.children[step.starts]
        self._low[kept] = np.minimum.reduceat(self._low[step.children], step.starts)
        self._high[kept] = np.maximum.reduceat(self._high[step.children], step.starts)
        self.sizes[step.children] = 0
        self.sizes[kept] = np.add.reduceat(step.sizes, step.starts)
        self._parent[step.children] = step.parents
        self.ids = self._parent.take(self.ids)

    def shape(self) -> Shape:
        """The numbers of these components, as `shape` counts them anew."""
        linked, top = self.linked, int(self.sizes.argmax())
        rest = (self.sizes[:top].max(initial=0), self.sizes[top + 1 :].max(initial=0))
        seconds = np.ascontiguousarray(self.ids.reshape(-1, SECONDS).T)
        equal = [int(np.count_nonzero(seconds[shift:] == seconds[:-shift])) for shift in range(1, SECONDS)]
        return Shape.of(
            snippets=len(self.ids),
            components=int(np.count_nonzero(self.sizes)),
            singletons=int(np.count_nonzero(self.sizes == 1)),
            largest=(int(self.sizes[top]), int(max(rest))),
            chained=int(linked.max()),
            linked=int(linked.sum()),
            same=int(np.dot(self.sizes, self.sizes)),
            within=equal,
        )
