"""One modality over all pairs of a corpus: search, hubs, the forest of what is listed, the join of the saturated.

Every process takes part: it searches its share of the pairs, grows the forest of its rows' lists, compares its share of
the saturated snippets; forests merge in a tree (the forest of a union is the forest of the forests). Only the first
process holds the whole of it in the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int
from pydantic import Field

from graph.forests.forest import Edges, Forest
from graph.forests.saturated import compared, join
from graph.modality import Modality
from graph.ranks import Ranks
from graph.rows.matrix import Matrix
from graph.search.best import Lists
from graph.search.copies import Copies
from graph.search.neighbours import NOBODY, Neighbours
from graph.search.search import Known, Search, SearchSettings
from launch.settings import Settings

COARSE = 2e-3
"""Cosine: lists of an earlier graph are taken for complete only that far above their last entry, since a GPU's are
complete a little above it."""


class HubSettings(Settings):
    """What counts as a hub: a snippet with so many near neighbours that they mean nothing (silence, black frames)."""

    similarity: float = Field(0.98, ge=0, le=1, description="cosine; a hub's k-th neighbour is at least this near")
    exclude: bool = Field(True, description="whether hubs get no edges in that modality")


@dataclass(frozen=True)
class Earlier:
    """What an earlier graph knows of some of the snippets."""

    neighbours: Neighbours
    """Its lists, naming its own snippets."""
    place: Int[np.ndarray, " earlier"]
    """Where each of its snippets stands now."""


def build_corpus(
    name: str,
    matrix: Matrix,
    floor: float,
    search: SearchSettings,
    hubs: HubSettings,
    ranks: Ranks | None = None,
    notes: Path | None = None,
    earlier: Earlier | None = None,
) -> Modality:
    """The modality over all pairs of the corpus; collective, whole on the first process.

    `notes` is a file in which an unfinished search is kept, and gone on from.
    """
    ranks = ranks or Ranks()
    copies = Copies.of(matrix, _mask(len(matrix), earlier.place) if earlier else None)
    known = _known(copies, earlier, len(matrix), floor) if earlier else None
    plan = Search(matrix, copies.originals, floor, search, ranks, known)
    lists = plan.run(notes)
    found = _hubs(copies, ranks.gather(lists), hubs, len(matrix))
    hub, without = ranks.share((found.hub, found.without))
    without |= matrix.zero
    forest = _listed(copies, lists, ranks, without)
    full = np.zeros(len(copies.originals), bool)
    if search.repair:
        full = np.concatenate(ranks.all(lists.bar > np.nextafter(np.float32(floor), np.float32(2))))
        full &= ~without[copies.originals]
        candidates = compared(matrix, copies.originals[full], floor, ranks, f"{name} saturated pairs")
        forest = ranks.merged(join(ranks.share(forest), candidates, floor), lambda one, other: one.merge(other.edges))
    saturated = _spread(copies, full, nobody=False)
    return Modality(
        name, matrix, floor, floor, forest, found.near, found.bar, hub, without, saturated, copies.count,
        plan.engine, plan.exact,
    )  # fmt: skip


@dataclass(frozen=True)
class _Whole:
    """The lists of all snippets and what they show; empty but on the first process."""

    near: Neighbours
    bar: Float32[np.ndarray, " snippet"]
    hub: Bool[np.ndarray, " snippet"]
    without: Bool[np.ndarray, " snippet"]


def _hubs(copies: Copies, parts: list[Lists] | None, hubs: HubSettings, snippets: int) -> _Whole:
    none = np.zeros(0, bool)
    if parts is None:
        nothing = Neighbours(np.empty((0, 1), np.int32), np.empty((0, 1), np.float32))
        return _Whole(nothing, np.empty(0, np.float32), none, none)
    lists = Lists.joined(parts)
    near = copies.expand(lists.near)
    bar = np.maximum(near.weakest, _spread(copies, lists.bar, nobody=1))
    hub = near.hubs(hubs.similarity)
    return _Whole(near, bar, hub, hub if hubs.exclude else np.zeros(snippets, bool))


def _listed(copies: Copies, lists: Lists, ranks: Ranks, without: Bool[np.ndarray, " snippet"]) -> Forest:
    """The forest of the listed pairs of originals and of the copies; whole on the first process."""
    rows = ranks.slice(len(copies.originals))

    def pairs() -> Iterator[Edges]:
        barred = without[copies.originals]
        for edges in _edges(lists.near, rows, barred):
            yield Edges(copies.originals[edges.first], copies.originals[edges.second], edges.similarity)
        if ranks.leads:
            joined = copies.edges()
            yield joined.where(~without[joined.first])

    forest = Forest.grown(len(without), pairs())
    return ranks.merged(forest, lambda one, other: one.merge(other.edges))


def _edges(near: Neighbours, rows: range, barred: Bool[np.ndarray, " original"], block: int = 32768) -> Iterator[Edges]:
    """The listed pairs of consecutive rows, as places, less those with a barred end."""
    for start in range(0, len(rows), block):
        others = near.indices[start : start + block]
        row, rank = np.nonzero(others != NOBODY)
        place, other = row + np.int32(rows.start + start), others[row, rank]
        edges = Edges(place.astype(np.int32), other, near.similarities[start + row, rank])
        yield edges.where(~barred[edges.first] & ~barred[edges.second])


def _known(copies: Copies, earlier: Earlier, snippets: int, floor: float) -> Known:
    """An earlier graph's lists, of the originals that stand first, and how far down they are complete."""
    lists, place = earlier.neighbours, earlier.place.astype(np.int32)
    moved = Neighbours(
        np.full((snippets, lists.k), NOBODY, np.int32), np.full((snippets, lists.k), -np.inf, np.float32)
    )
    moved.indices[place] = np.where(lists.indices == NOBODY, NOBODY, place[lists.indices])
    moved.similarities[place] = lists.similarities
    bar = np.maximum(
        moved.weakest[copies.originals] + np.float32(COARSE), np.nextafter(np.float32(floor), np.float32(2))
    )
    count = int(_mask(snippets, place)[copies.originals].sum())
    return Known(Lists(copies.collapse(moved), bar), count)


def _mask(snippets: int, chosen: Int[np.ndarray, " chosen"]) -> Bool[np.ndarray, " snippet"]:
    mask = np.zeros(snippets, bool)
    mask[chosen] = True
    return mask


def _spread(copies: Copies, values: np.ndarray, nobody: float) -> np.ndarray:
    """Each original's value for all of its copies, and `nobody` for rows that are all zero."""
    found = np.full(len(copies.group), nobody, values.dtype)
    in_group = copies.group != NOBODY
    found[in_group] = values[copies.group[in_group]]
    return found
