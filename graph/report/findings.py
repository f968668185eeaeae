"""What the graph says about itself: sampled similarities, the largest components, hubs, and a summary in words.

Simplified for now, and said so in the summary: thresholds are given by the user, not chosen from the data, and
components are the literal transitive closure, of which nothing is split afterwards.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from graph.forests.forest import components
from graph.modality import Modality
from graph.report.sweep import Curve, Grid, Shape, curve, grid, shape
from shards.schema import SECONDS

ALARM = 0.05
"""The share of snippets above which the largest component of several videos is taken for a chain of wrong links."""
LISTED = 1000
"""Hubs that the JSON report names, at most; it counts all."""


@dataclass(frozen=True)
class Samples:
    """Cosines of one modality's sampled pairs, each kind drawn at random; hubs and zero rows included."""

    other_video: Float32[np.ndarray, " pair"]
    """Two snippets of different videos, at random."""
    next_second: Float32[np.ndarray, " pair"]
    """A snippet and the one after it."""
    nearest: Float32[np.ndarray, " pair"]
    """A snippet and its most similar one in another video; empty where there are no lists or none lists another."""


def samples(side: Modality, seed: int, count: int = 40_000) -> Samples:
    """Sampled similarities, at most `count` of each kind."""
    random, snippets = np.random.default_rng(seed), len(side.matrix)
    first = random.integers(0, snippets, count)
    second = random.integers(0, snippets, count)
    other = first // SECONDS != second // SECONDS
    before = np.unique(
        random.integers(0, snippets // SECONDS, count) * SECONDS + random.integers(0, SECONDS - 1, count)
    )
    return Samples(
        side.matrix.pairs(first[other], second[other]),
        side.matrix.pairs(before, before + 1),
        _nearest(side, np.unique(first)),
    )


@dataclass(frozen=True)
class Largest:
    """One of the largest components."""

    snippets: int
    videos: int
    examples: list[str]
    """Some members as `key@second`."""
    median_audio: float
    """Median cosine of pairs of its members that are in different videos (of its members at all, if it has one)."""
    median_visual: float


def largest(
    ids: Int[np.ndarray, " snippet"], keys: Sequence[str], sides: Sequence[Modality], seed: int, count: int = 10
) -> list[Largest]:
    """The `count` largest components that have several members, largest first."""
    sizes, random, found = np.bincount(ids), np.random.default_rng(seed), []
    for component in np.argsort(-sizes, kind="stable")[:count]:
        if sizes[component] < 2:
            break
        members = np.flatnonzero(ids == component)
        first, second = random.choice(members, 2000), random.choice(members, 2000)
        apart = first // SECONDS != second // SECONDS
        apart = apart if apart.any() else first != second
        medians = [float(np.median(side.matrix.pairs(first[apart], second[apart]))) for side in sides]
        examples = named(random.choice(members, min(5, len(members)), replace=False), keys)
        found.append(Largest(len(members), len(np.unique(members // SECONDS)), examples, *medians))
    return found


def named(snippets: Int[np.ndarray, " chosen"], keys: Sequence[str]) -> list[str]:
    """Snippets as `key@second`."""
    return [f"{keys[snippet // SECONDS]}@{snippet % SECONDS}" for snippet in snippets.tolist()]


@dataclass(frozen=True)
class Report:
    """Everything the graph stage found out; `facts` are JSON values, `lines` sentences for people."""

    chosen: Shape
    drawn: list[Samples]
    curves: list[Curve]
    joint: Grid | None
    facts: dict[str, Any]
    lines: list[str]


def report(
    ids: Int[np.ndarray, " snippet"], sides: Sequence[Modality], keys: Sequence[str], match: str, seed: int
) -> Report:
    """The report on components `ids`; `match = "all"` has one pair of thresholds, so no grid of them."""
    audio, visual = sides
    drawn = [samples(side, seed) for side in sides]
    curves = [curve(side) for side in sides]
    joint = grid(audio, visual) if match == "any" else None
    chosen = shape(ids)
    alone = [shape(components(len(ids), [side.forest.cut(side.threshold)])) for side in sides]
    facts: dict[str, Any] = {"chosen": asdict(chosen)}
    for side, own, drawn_here, swept in zip(sides, alone, drawn, curves, strict=True):
        facts[side.name] = _facts(side, keys, own, drawn_here, swept)
    facts |= {"largest": [asdict(each) for each in largest(ids, keys, sides, seed)], "grid": joint and asdict(joint)}
    lines = [*map(_side, sides, alone), *_joined(chosen, match)]
    return Report(chosen, drawn, curves, joint, facts | {"summary": lines}, lines)


def _joined(chosen: Shape, match: str) -> list[str]:
    lines = [
        f"Joined (similar in {match} of the two): {_shape(chosen)}; {chosen.linked_share:.1%} of the snippets are "
        f"linked to another video, and a random pair from two videos is positive with chance "
        f"{chosen.positive_chance:.2e}.",
        "The thresholds are the ones you gave, and components are the plain transitive closure of the edges: look at "
        "report.png before you train on them.",
    ]
    if chosen.chained_share > ALARM:
        lines.append(
            f"WARNING: the largest component of several videos holds {chosen.chained_share:.1%} of all snippets (more "
            f"than {ALARM:.0%}). Unlike snippets are being chained together, and pre-training would pull them all to "
            "one point. Raise --threshold_audio or --threshold_visual (report.png shows the shares over both), keep "
            "exclude_hubs, or ask for --match all."
        )
    return lines


def _side(side: Modality, alone: Shape) -> str:
    hubs = f"{int(side.hubs.sum()):,} hubs{'' if (side.without >= side.hubs).all() else ' (which keep their edges)'}"
    return (
        f"{side.name.capitalize()} ({side.matrix.feature}) above {side.threshold:g}: {_shape(alone)}; "
        f"{int(side.matrix.zero.sum()):,} all-zero rows, {hubs}; {side.saturated.mean():.1%} of the snippets were "
        f"compared exhaustively, so every threshold from {side.floor:g} up is exact."
    )


def _shape(found: Shape) -> str:
    return (
        f"{found.components:,} components, {found.singletons:,} of them single snippets, the largest holding "
        f"{found.largest_share:.1%} of all"
    )


def _facts(side: Modality, keys: Sequence[str], alone: Shape, sample: Samples, swept: Curve) -> dict[str, Any]:
    return {
        "feature": side.matrix.feature,
        "threshold": side.threshold,
        "floor": side.floor,
        "alone": asdict(alone),
        "zero_rows": int(side.matrix.zero.sum()),
        "hubs": int(side.hubs.sum()),
        "hubs_named": named(np.flatnonzero(side.hubs)[:LISTED], keys),
        "saturated_share": float(side.saturated.mean()),
        "forest_edges": len(side.forest.edges),
        "similarity_percentiles": {name: _percentiles(values) for name, values in vars(sample).items()},
        "sweep": asdict(swept),
    }


def _percentiles(values: Float32[np.ndarray, " pair"]) -> dict[str, float]:
    levels = (0, 1, 5, 25, 50, 75, 95, 99, 99.9, 100)
    return {f"{level:g}": float(np.percentile(values, level)) for level in levels} if len(values) else {}


def _nearest(side: Modality, chosen: Int[np.ndarray, " chosen"]) -> Float32[np.ndarray, " pair"]:
    if side.neighbours is None:
        return np.empty(0, np.float32)
    near, similar = side.neighbours.indices[chosen], side.neighbours.similarities[chosen]
    other = near // SECONDS != chosen[:, None] // SECONDS
    return similar[np.arange(len(chosen)), other.argmax(axis=1)][other.any(axis=1)]
