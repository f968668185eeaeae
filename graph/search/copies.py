"""Exact copies: rows with equal digests are searched once, and their lists expanded afterwards.

A copy's list begins with the other members of its group, at similarity 1; each neighbour stands for all of its group.
So multiplicity counts: a group larger than k fills its members' lists, which makes them hubs at 1.0.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from graph.forests.forest import Edges
from graph.rows.matrix import BLOCK, Matrix
from graph.search.neighbours import NOBODY, Neighbours


@dataclass(frozen=True)
class Copies:
    """The groups of equal rows of a matrix; rows that are all zero are in none."""

    originals: Int[np.ndarray, " original"]
    """The first snippet of each group: these are searched, and the group goes by its place here."""
    group: Int[np.ndarray, " snippet"]
    """The place in `originals` of each snippet's group; NOBODY for rows that are all zero."""
    members: Int[np.ndarray, " member"]
    """All snippets with a group, group by group, rising within."""
    starts: Int[np.ndarray, " bound"]
    """Group g's members are `members[starts[g] : starts[g + 1]]`."""

    @classmethod
    def of(cls, matrix: Matrix, known: Bool[np.ndarray, " snippet"] | None = None) -> "Copies":
        """The groups of a matrix, numbered by their originals: of known snippets first, if any are marked as such."""
        new = np.zeros(len(matrix), bool) if known is None else ~known
        kept = np.flatnonzero(~matrix.zero)
        digests = np.ascontiguousarray(matrix.digests[kept]).view("<u8")
        order = np.lexsort((kept, new[kept], digests[:, 1], digests[:, 0]))
        first = np.r_[True, (digests[order][1:] != digests[order][:-1]).any(axis=1)][: len(order)]
        originals = kept[order[first]]
        by_number = np.lexsort((originals, new[originals]))
        rank = np.empty(len(originals), np.int32)
        rank[by_number] = np.arange(len(originals))
        group = np.full(len(matrix), NOBODY, np.int32)
        group[kept[order]] = rank[np.cumsum(first) - 1]
        members = np.argsort(group, kind="stable")[len(matrix) - len(kept) :].astype(np.int32)
        starts = np.r_[0, np.cumsum(np.bincount(group[kept], minlength=len(originals)))]
        return cls(originals[by_number].astype(np.int32), group, members, starts.astype(np.int64))

    @property
    def count(self) -> int:
        """Snippets that are a copy of an earlier one."""
        return len(self.members) - len(self.originals)

    def edges(self) -> Edges:
        """Each copy joined to the first of its group, at similarity 1."""
        first = self.originals[self.group[self.members]]
        copies = first != self.members
        return Edges(first[copies], self.members[copies], np.ones(int(copies.sum()), np.float32))

    def expand(self, lists: Neighbours) -> Neighbours:
        """The lists of all snippets, from lists of originals that name originals by their places."""
        snippets, k = len(self.group), lists.k
        indices = np.full((snippets, k), NOBODY, np.int32)
        similarities = np.full((snippets, k), -np.inf, np.float32)
        block = max(1, min(BLOCK, (1 << 23) // (k + 1) ** 2))  # each snippet may name (k + 1)² members before the cut
        for start in range(0, snippets, block):
            some = np.arange(start, min(start + block, snippets))
            some = some[self.group[some] != NOBODY]
            own = self.group[some]
            groups = np.column_stack([own, lists.indices[own]])
            similar = np.column_stack([np.ones(len(own), np.float32), lists.similarities[own]])
            self._fill(some, groups, similar, indices, similarities)
        return Neighbours(indices, similarities)

    def collapse(self, lists: Neighbours) -> Neighbours:
        """The lists of originals, naming originals by their places, that expanded lists stand for.

        Copies of one neighbour become one entry, and a snippet's own copies none, so a list may hold fewer than k:
        what it leaves out is still no more similar than the expanded list's k-th.
        """
        found = Neighbours(
            np.full((len(self.originals), lists.k), NOBODY, np.int32),
            np.full((len(self.originals), lists.k), -np.inf, np.float32),
        )
        for start in range(0, len(self.originals), BLOCK):
            rows = self.originals[start : start + BLOCK]
            near = lists.indices[rows]
            groups = np.where(near == NOBODY, NOBODY, self.group[near])
            row, rank = np.nonzero((groups != NOBODY) & (groups != np.arange(start, start + len(rows))[:, None]))
            _, first = np.unique(row * np.int64(len(self.originals)) + groups[row, rank], return_index=True)
            first.sort()
            row, rank = row[first], rank[first]
            place = np.arange(len(row)) - np.searchsorted(row, row)
            found.indices[start + row, place] = groups[row, rank]
            found.similarities[start + row, place] = lists.similarities[rows[row], rank]
        return found

    def _fill(
        self,
        some: Int[np.ndarray, " row"],
        groups: Int[np.ndarray, "row entry"],
        similar: np.ndarray,
        indices: np.ndarray,
        similarities: np.ndarray,
    ) -> None:
        """Writes the lists of some snippets: the members of the listed groups in turn, less the snippet itself."""
        k = indices.shape[1]
        row, entry = np.nonzero(groups != NOBODY)
        group = groups[row, entry]
        taken = np.minimum(self.starts[group + 1] - self.starts[group], k + 1)
        within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
        member = self.members[np.repeat(self.starts[group], taken) + within]
        row, similarity = np.repeat(row, taken), np.repeat(similar[row, entry], taken)
        other = member != some[row]
        row, member, similarity = row[other], member[other], similarity[other]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        kept = place < k
        indices[some[row[kept]], place[kept]] = member[kept]
        similarities[some[row[kept]], place[kept]] = similarity[kept]
