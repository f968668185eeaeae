"""Components that look random, or are too large, split until they do not: positives are only ever removed.

Each round tests components one by one (π0 over their own pairs of two videos) and splits those that fail:

1. "one modality, then votes": of a component's modalities the one with most edges inside it says who belongs together;
   whom it leaves without another video joins, by label propagation on the edges of all, where most of his edges lead.
2. "one modality": what fails again has strangers that were voted in, and goes by that modality alone.
3. "votes": one modality's component that fails by itself is split by label propagation; so is, from the first round
   on, a component that knows only one kind of edges.
4. "stronger votes", as often as it takes: the same without the weakest quarter of the edges left.

No two snippets that were apart are ever joined. Why so: 40,000 snippets of `make study-graph`'s corpus, literal rule
97.6% wrong pairs, 95.3% of the true pairs found, 96% of the snippets linked to another video. As it is: 0.4% wrong, 36%
found, 83% linked. Votes on all edges first, everyone starting alone (near neighbours make small groups: the largest
1.0%): 0.5%, 8%, 73%; those followed by stronger votes only: 1.1%, 5%, 61%.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int, Int64
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from graph.forests.forest import Edges, numbered
from graph.positives.chance import Crossing, Estimate, Unlike, pi0
from graph.positives.propagation import groups
from graph.positives.thresholds import ThresholdSettings
from shards.schema import SECONDS

ROUNDS = 12
"""Rounds of splitting at most: the last goes by the strongest 4 to 8% of the edges. Planted corpora took 1 to 4."""
WEAKEST = 0.25
"""Share of a component's edges that a round of stronger votes goes without. Half of them cost links (48% of snippets
linked instead of 53%, mean of seven planted corpora of 3,000 and 8,000 snippets) and saved no wrong pair."""
SAMPLE = 200
"""Pairs drawn of a component that has more; the others are looked at pair by pair."""
By = Literal["one modality, then votes", "one modality", "votes", "stronger votes"]


@dataclass(frozen=True)
class Round:
    """One round of tests, and of splitting what failed."""

    way: str
    """What its edges are of: "joint", or one modality's name."""
    by: By
    """How those that failed were split."""
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
    plan: list[By] = ["one modality, then votes", "one modality", "votes"] if len(layers) > 1 else ["votes"]
    failed = np.ones(len(ids), bool)
    while True:
        tested, failed = _failed(ids, failed, unlike, settings, seed + len(rounds))
        failing = len(np.unique(ids[failed]))
        if not failing or len(rounds) == ROUNDS:
            return Refined(numbered(ids), tuple(rounds), failing)
        by = plan[len(rounds)] if len(rounds) < len(plan) else "stronger votes"
        layers = [layer.where(failed[layer.first] & (ids[layer.first] == ids[layer.second])) for layer in layers]
        if by == "stronger votes":
            layers = [_without_weakest(layer, ids) for layer in layers]
        elif by == "one modality":
            layers = _one_modality(layers, ids)
        ids = _split(ids, failed, layers, by, seed + len(rounds))
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
    ids: Int64[np.ndarray, " snippet"],
    failed: Bool[np.ndarray, " snippet"],
    layers: Sequence[Edges],
    by: By,
    seed: int,
) -> Int64[np.ndarray, " snippet"]:
    """The ids with the failed components' snippets in groups of their own, each inside its component."""
    members = np.flatnonzero(failed)
    votes = _votes(members, len(ids), layers)
    start = free = None
    if by in ("one modality, then votes", "one modality"):
        core = _votes(members, len(ids), _one_modality(layers, ids))
        start = connected_components(core, directed=False)[1]
        videos = len(ids) // SECONDS + 1
        free = np.bincount(np.unique(start.astype(np.int64) * videos + members // SECONDS) // videos)[start] == 1
    split = ids.copy()
    split[members] = ids.max() + 1 + groups(votes, seed, start, free)
    return split


def _votes(members: Int64[np.ndarray, " member"], snippets: int, layers: Sequence[Edges]) -> csr_array:
    """Members × members: of each layer one vote for an edge, however often it is listed, from each end to the other."""
    place = np.zeros(snippets, np.int32)
    place[members] = np.arange(len(members))
    shape = (len(members), len(members))
    parts = []
    for layer in layers:
        ends = place[layer.first], place[layer.second]
        both = np.concatenate(ends), np.concatenate(ends[::-1])
        part = csr_array((np.ones(len(both[0]), np.int32), both), shape=shape)
        part.sum_duplicates()
        part.data[:] = 1
        parts.append(part)
    return reduce(add, parts)
