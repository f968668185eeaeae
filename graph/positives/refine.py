"""Components that look random, or are too large, split until they do not: positives are only ever removed.

Each round tests components one by one (π0 over their own pairs of two videos) and splits those that fail by label
propagation on the edges inside them. Round one goes by all edges above the thresholds. What fails again is mostly a
class with two kinds of strangers, some that sound like it and look different, others the other way round; so round two
goes by one modality's edges, of each component those of which it has more, which leaves one kind out. Every further
round goes without the weakest quarter of the edges left. No two snippets that were apart are ever joined.

Measured on eight planted corpora (3,000 to 8,000 snippets, 30% of the videos mismatched; mean wrong pairs, snippets
linked to another video): literal 95%, 87%; one round 3.5%, 68%; going on at once with stronger halves 0.9%, 48%, with
stronger three quarters 0.9%, 56%; as it is now 0.7%, 64%.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int, Int64
from scipy.sparse import csr_array

from graph.forests.forest import Edges
from graph.positives.chance import Crossing, Estimate, Unlike, pi0
from graph.positives.propagation import groups
from graph.positives.thresholds import ThresholdSettings

ROUNDS = 12
"""Rounds of splitting at most: the last goes by the strongest 6% of the edges. Planted corpora took 1 to 3."""
WEAKEST = 0.25
"""Share of a component's edges that a later round goes without."""
SAMPLE = 200
"""Pairs drawn of a component that has more; the others are looked at pair by pair."""


@dataclass(frozen=True)
class Round:
    """One round of tests, and of splitting what failed."""

    way: str
    """What its edges are of: "joint", or one modality's name."""
    by: Literal["all edges", "one modality", "stronger edges"]
    """The edges that propagation went by."""
    tested: int
    """Components of several videos that were tested: all in the first round, then what came of those that failed."""
    failed: int
    snippets: int
    """Snippets of the components that failed."""
    pi0: Estimate
    """Of all components, after the round."""


@dataclass(frozen=True)
class Refined:
    """Components after refinement."""

    ids: Int64[np.ndarray, " snippet"]
    rounds: tuple[Round, ...]
    failing: int
    """Components that still fail after the last round."""


def refine(
    ids: Int64[np.ndarray, " snippet"],
    layers: Sequence[Edges],
    unlike: Unlike,
    settings: ThresholdSettings,
    seed: int,
    way: str = "joint",
) -> Refined:
    """Components each inside one of the given, numbered by first appearance.

    There is at least one layer; each holds one modality's edges above its threshold (any order, doubled or not), and an
    edge in two layers has two votes. `unlike` judges pairs; `settings` say how many may be unlike, and how large is too
    large; `way` is only repeated in the rounds.
    """
    rounds: list[Round] = []
    failed = np.ones(len(ids), bool)
    while True:
        tested, failed = _failed(ids, failed, unlike, settings, seed + len(rounds))
        failing = len(np.unique(ids[failed]))
        if not failing or len(rounds) == ROUNDS:
            return Refined(_numbered(ids), tuple(rounds), failing)
        layers = [layer.where(failed[layer.first] & (ids[layer.first] == ids[layer.second])) for layer in layers]
        by: Literal["all edges", "one modality", "stronger edges"] = "all edges"
        if len(rounds) == 1 and len(layers) > 1:
            by, layers = "one modality", _one_modality(layers, ids)
        elif rounds:
            by, layers = "stronger edges", [_without_weakest(layer, ids) for layer in layers]
        ids = _split(ids, failed, layers, seed + len(rounds))
        rounds.append(Round(way, by, tested, failing, int(failed.sum()), pi0(ids, unlike, settings.pairs, seed)))


def _failed(
    ids: Int64[np.ndarray, " snippet"],
    suspect: Bool[np.ndarray, " snippet"],
    unlike: Unlike,
    settings: ThresholdSettings,
    seed: int,
) -> tuple[int, Bool[np.ndarray, " snippet"]]:
    """How many of the suspects' components span several videos, and the snippets of those that fail."""
    crossing = Crossing.of(ids)
    heads = np.flatnonzero(crossing.start == np.arange(len(ids)))  # the first place of each component
    component = np.empty(len(ids), np.int64)
    component[crossing.order] = np.searchsorted(heads, np.arange(len(ids)), side="right") - 1
    size = crossing.stop[heads] - heads
    tested = suspect[crossing.order[heads]] & (crossing.partners[heads] > 0)
    first, second = _pairs_of_each(crossing, heads, tested, np.random.default_rng(seed))
    looked = np.bincount(component[first], minlength=len(heads))
    found = np.bincount(component[first[unlike(first, second)]], minlength=len(heads))
    failed = tested & ((2 * found > settings.pi0 * looked) | (size > settings.largest * len(ids)))
    return int(tested.sum()), failed[component]


def _pairs_of_each(
    crossing: Crossing,
    heads: Int[np.ndarray, " component"],
    tested: Bool[np.ndarray, " component"],
    random: np.random.Generator,
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """The pairs of every tested component that has at most SAMPLE, and SAMPLE drawn pairs of every larger one."""
    last = crossing.until[crossing.stop[heads] - 1]
    before = np.concatenate([[0], last[:-1]])
    few = last - before <= 2 * SAMPLE  # they are numbered in both directions
    listed = np.zeros(len(crossing.order), bool)
    listed[np.repeat(tested & few, np.diff(heads, append=len(listed)))] = True
    many = tested & ~few
    numbers = random.integers(before[many, None], last[many, None], (int(many.sum()), SAMPLE))
    parts = crossing.all(listed), crossing.numbered(numbers.ravel())
    return np.concatenate([parts[0][0], parts[1][0]]), np.concatenate([parts[0][1], parts[1][1]])


def _one_modality(layers: Sequence[Edges], ids: Int64[np.ndarray, " snippet"]) -> list[Edges]:
    """Of each component the edges of the layer that has most of them inside it; the first of equals."""
    counts = [np.bincount(ids[layer.first], minlength=int(ids.max()) + 1) for layer in layers]
    most = np.argmax(counts, axis=0)
    return [layer.where(most[ids[layer.first]] == number) for number, layer in enumerate(layers)]


def _without_weakest(layer: Edges, ids: Int64[np.ndarray, " snippet"]) -> Edges:
    """Each component's edges without the weakest quarter of them; equal ones share a fate."""
    component = ids[layer.first]
    order = np.lexsort((layer.similarity, component))
    starts = np.flatnonzero(np.diff(component[order], prepend=-1))
    counts = np.diff(starts, append=len(order))
    bar = layer.similarity[order][starts + ((counts - 1) * WEAKEST).astype(int)]
    above = np.zeros(len(layer), bool)
    above[order] = layer.similarity[order] > np.repeat(bar, counts)
    return layer.where(above)


def _split(
    ids: Int64[np.ndarray, " snippet"], failed: Bool[np.ndarray, " snippet"], layers: Sequence[Edges], seed: int
) -> Int64[np.ndarray, " snippet"]:
    """The ids with the failed components' snippets in the groups that propagation finds inside them."""
    members = np.flatnonzero(failed)
    place = np.zeros(len(ids), np.int32)
    place[members] = np.arange(len(members))
    votes = reduce(add, (_votes(place, layer, len(members)) for layer in layers))
    split = ids.copy()
    split[members] = ids.max() + 1 + groups(votes, seed)
    return split


def _votes(place: Int[np.ndarray, " snippet"], layer: Edges, nodes: int) -> csr_array:
    """One vote from each end of an edge to the other, however often the edge is listed."""
    ends = place[layer.first], place[layer.second]
    both = np.concatenate(ends), np.concatenate(ends[::-1])
    votes = csr_array((np.ones(len(both[0]), np.int32), both), shape=(nodes, nodes))
    votes.sum_duplicates()
    votes.data[:] = 1
    return votes


def _numbered(ids: Int64[np.ndarray, " snippet"]) -> Int64[np.ndarray, " snippet"]:
    """The same components, numbered 0, 1, 2, … by first appearance."""
    _, first, dense = np.unique(ids, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[dense]
