"""One modality over all pairs of a corpus: search, hubs, and the forest of the pairs above the floor.

Hubs are known only when the search is over, so the forest is grown afterwards: from the lists, then from what they
leave out, which is every pair that the search kept on the way, or, where those were too many, a second comparison of
the saturated snippets. Every process takes part: it searches its share of the pairs, and grows a forest of what it
found; forests merge in a tree (the forest of a union is the forest of the forests). Only the first process holds the
whole of it in the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int
from pydantic import Field

from graph.forests.forest import Edges, Forest
from graph.forests.saturated import join
from graph.modality import Modality
from graph.ranks import Ranks
from graph.rows.matrix import Matrix
from graph.search.best import Lists, bar_at
from graph.search.blocks import compared
from graph.search.copies import Copies
from graph.search.neighbours import NOBODY, Neighbours
from graph.search.pairs import BLOCK
from graph.search.search import Found, Known, Search, SearchSettings
from launch.progress import track
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
    exact: bool
    """Whether its lists hold all that they claim to."""


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
    engine = ranks.share(search.chosen(len(matrix), ranks.size))
    plan = Search(matrix, copies.originals, floor, search, engine, ranks, known)
    exact = plan.exact and (earlier is None or earlier.exact)
    told = engine if earlier is None else f"{engine}, on the lists of an earlier graph"
    found = plan.run(notes)
    whole = _whole(copies, ranks.gather(found.lists), hubs, len(matrix))
    hub, without = ranks.share((whole.hub, whole.without))
    without = without | matrix.zero  # not in place: it may be the hubs' own array
    barred = without[copies.originals]
    full = np.concatenate(ranks.all(found.lists.bar > bar_at(floor))) & ~barred
    forest = ranks.share(_listed(copies, found.lists, ranks, without))
    forest = join(forest, _left_out(name, plan, found, barred, full), floor)
    forest = ranks.merged(forest, lambda one, other: one.merge(other.edges))
    found.pairs.close()
    return Modality(
        name, matrix, floor, floor, forest, whole.near, whole.bar, hub, without, _spread(copies, full, nobody=False),
        copies.count, told, exact,
    )  # fmt: skip


def _left_out(
    name: str, plan: Search, found: Found, barred: Bool[np.ndarray, " original"], full: Bool[np.ndarray, " original"]
) -> Iterator[Edges]:
    """This process's share of the edges that no list holds: pairs that were kept on the way, or a second comparison.

    Of an approximate search they are what was kept, if anything was; of an exact one that did not keep every pair,
    those among the saturated.
    """
    if not plan.exact and found.pairs.dropped:
        return
    if not plan.exact or all(plan.ranks.all(found.every)):
        blocks = ceil(found.pairs.count / BLOCK)
        yield from track(found.pairs.edges(plan.snippets, barred), f"{name} forest", blocks, f"× {BLOCK:,} pairs")
    else:
        yield from compared(plan.matrix, plan.snippets[full], plan.floor, plan.ranks, f"{name} saturated pairs")


@dataclass(frozen=True)
class _Whole:
    """The lists of all snippets and what they show; empty but on the first process."""

    near: Neighbours
    bar: Float32[np.ndarray, " snippet"]
    hub: Bool[np.ndarray, " snippet"]
    without: Bool[np.ndarray, " snippet"]


def _whole(copies: Copies, parts: list[Lists] | None, hubs: HubSettings, snippets: int) -> _Whole:
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
    bar = np.maximum(moved.weakest[copies.originals] + np.float32(COARSE), bar_at(floor))
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
