"""The largest components: what is in them, how alike their members are, and by what thread they hang together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int64

from graph.forests.forest import Edges, Forest, components
from graph.modality import Modality
from shards.schema import SECONDS

PAIRS = 2000
"""Pairs of a component's members from which the median similarity is taken."""


@dataclass(frozen=True)
class Bridge:
    """The weakest edge of the forest that holds a component together."""

    first: str
    """One end, as `key@second`."""
    second: str
    cosines: dict[str, float]
    """Of the two ends, by modality."""
    parts: tuple[int, int]
    """Snippets on either side, if this edge were missing."""


@dataclass(frozen=True)
class Largest:
    """One of the largest components."""

    snippets: int
    videos: int
    examples: list[str]
    """Some members, as `key@second`."""
    medians: dict[str, float]
    """By modality the median cosine of pairs of its members in different videos (of any two, if it has one video)."""
    bridge: Bridge | None
    """None where no edge lies inside: a refined component may hang together by votes alone."""
    labels: dict[str, float]
    """The commonest labels of its videos, and the share of its labelled videos that have each."""


def largest(
    ids: Int64[np.ndarray, " snippet"],
    sides: Sequence[Modality],
    match: str,
    keys: Sequence[str],
    labels: Sequence[frozenset[str]] | None,
    seed: int,
    count: int = 10,
) -> list[Largest]:
    """The `count` largest components of several snippets, largest first; the edges of `sides` made them."""
    sizes, random, found = np.bincount(ids), np.random.default_rng(seed), []
    for component in np.argsort(-sizes, kind="stable")[:count]:
        if sizes[component] < 2:
            break
        members = np.flatnonzero(ids == component)
        first, second = random.choice(members, (2, PAIRS))
        apart = first // SECONDS != second // SECONDS
        apart = apart if apart.any() else first != second
        medians = {side.name: float(np.median(side.matrix.pairs(first[apart], second[apart]))) for side in sides}
        videos = np.unique(members // SECONDS)
        examples = named(np.sort(random.choice(members, min(5, len(members)), replace=False)), keys)
        common = _common([labels[video] for video in videos.tolist()]) if labels else {}
        found.append(Largest(len(members), len(videos), examples, medians, bridge(members, sides, match, keys), common))
    return found


def bridge(
    members: Int[np.ndarray, " member"], sides: Sequence[Modality], match: str, keys: Sequence[str]
) -> Bridge | None:
    """The weakest bridge of a component: the last edge of its maximum spanning forest.

    Each edge is weighed by its margin: how much of the way from the threshold to 1 its cosine goes; the smaller of both
    margins where both must match. Where no edge leaves the members (nothing was split off them), the modalities'
    forests hold all that is needed; else the edges of the lists are looked at too.
    """
    inside = np.zeros(len(sides[0].without), bool)
    inside[members] = True
    cuts = [(side, side.forest.cut(side.threshold)) for side in sides]
    known = [(side, cut.where(inside[cut.first] & inside[cut.second])) for side, cut in cuts]
    if match == "all" or any((inside[cut.first] != inside[cut.second]).any() for _, cut in cuts):
        known += [(side, _listed(side, inside)) for side in sides]
    weighed = [_margin(found, side) if match == "any" else _smaller_margin(found, sides) for side, found in known]
    edges = Edges.joined(weighed)
    place = np.cumsum(inside) - 1
    forest = Forest.empty(len(members)).merge(Edges(place[edges.first], place[edges.second], edges.similarity))
    if not len(forest.edges):
        return None
    rest = components(len(members), [forest.edges.where(slice(len(forest.edges) - 1))])
    ends = np.array([forest.edges.first[-1], forest.edges.second[-1]])
    parts = np.bincount(rest)[rest[ends]].tolist()
    first, second = named(members[ends], keys)
    cosines = {side.name: float(side.matrix.pairs(members[ends[:1]], members[ends[1:]])[0]) for side in sides}
    return Bridge(first, second, cosines, (parts[0], parts[1]))


def named(snippets: Int[np.ndarray, " chosen"], keys: Sequence[str]) -> list[str]:
    """Snippets as `key@second`."""
    return [f"{keys[snippet // SECONDS]}@{snippet % SECONDS}" for snippet in snippets.tolist()]


def _listed(side: Modality, inside: Bool[np.ndarray, " snippet"]) -> Edges:
    """The edges above the threshold that a modality lists between the chosen snippets."""
    if side.neighbours is None:
        return Edges.none()
    members = np.flatnonzero(inside & ~side.without)
    near, similar = side.neighbours.indices[members], side.neighbours.similarities[members]
    row, rank = np.nonzero((similar > np.float32(side.threshold)) & (inside & ~side.without)[near])
    return Edges(members[row], near[row, rank], similar[row, rank])


def _margin(edges: Edges, side: Modality) -> Edges:
    """A modality's edges with their margins for similarities, all above 0."""
    margin = (edges.similarity - np.float32(side.threshold)) / np.float32(1 - side.threshold)
    return Edges(edges.first, edges.second, margin)


def _smaller_margin(edges: Edges, sides: Sequence[Modality]) -> Edges:
    """The edges that all modalities have, with the smaller of their margins for similarities."""
    each = [Edges(edges.first, edges.second, side.matrix.pairs(edges.first, edges.second)) for side in sides]
    margin = np.minimum.reduce([_margin(found, side).similarity for found, side in zip(each, sides, strict=True)])
    return Edges(edges.first, edges.second, margin).where(margin > 0)


def _common(labels: Sequence[frozenset[str]], count: int = 3) -> dict[str, float]:
    known = [each for each in labels if each]
    counts = Counter(label for each in known for label in sorted(each))
    return {label: number / len(known) for label, number in counts.most_common(count)}
