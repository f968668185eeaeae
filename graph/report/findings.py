"""What the graph says about itself, as facts for programs and sentences for people (`graph.report.words`).

Facts and sentences are of the outcome (`graph.positives.decide`): thresholds and why they were taken, what the literal
rule would have given, what refinement left of it, and what can be expected of a batch. The grid shows the literal
closure at every pair of thresholds, so that a person can choose others.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from graph.modality import Modality
from graph.positives.chance import Estimate, alone, joint
from graph.positives.decide import Outcome
from graph.positives.thresholds import Choice, ThresholdSettings
from graph.report.labels import Labels, labels_of
from graph.report.largest import largest, named
from graph.report.purity import purity
from graph.report.samples import Samples, samples
from graph.report.shape import reach, shape
from graph.report.sweep import STEPS, Curve, Grid, curve, grid
from graph.report.words import lines, warnings
from shards.schema import SECONDS

LISTED = 1000
"""Hubs that the JSON report names, at most; it counts all."""
BATCHES = (1024, 8192, 32768)
"""Snippets of the batches of which positives are predicted."""


@dataclass(frozen=True)
class Report:
    """Everything the graph stage found out."""

    chosen: dict[str, float]
    """The components in numbers, flat, for a metrics log; of two ways each number begins with the way's name."""
    drawn: list[Samples]
    curves: list[Curve]
    grid: Grid | None
    """None for match = "all", whose pair of thresholds was fixed before the build."""
    facts: dict[str, Any]
    """JSON."""
    lines: list[str]
    """Sentences, the warnings last."""
    warnings: list[str]


def report(
    outcome: Outcome,
    keys: Sequence[str],
    match: str,
    labels: Labels | None = None,
    seed: int = 0,
    checked: Sequence[str] = (),
    steps: int = STEPS,
    limits: ThresholdSettings | None = None,
) -> Report:
    """The report on an outcome; `keys` of the videos in stored order, `checked` what audits found, as sentences.

    `steps` is the number of thresholds of each modality in curves and grid; the grid's cost grows with its square.
    `limits`, drawn as lines, are those by which thresholds were chosen; None: the default ones.
    """
    sides = outcome.sides
    about = labels_of(keys, labels) if labels else None
    drawn = [samples(side, seed) for side in sides]
    curves, swept = _sweep(outcome, match, seed, steps)
    limits = limits or ThresholdSettings()
    facts = _counts(outcome, match) | {"limits": {"pi0": limits.pi0, "largest": limits.largest}}
    for side, sample, alone_swept in zip(sides, drawn, curves, strict=True):
        facts[side.name] = _side(side, outcome.choices[side.name], keys, sample, alone_swept)
    ways = _ways(outcome, outcome.ids)
    facts["largest"] = {way: largest(ids, part, match, keys, about, seed) for way, ids, part in ways}
    facts["purity"] = {way: purity(ids, about, seed) for way, ids, _ in ways} if about else None
    facts = _plain(facts) | {"grid": swept and swept.facts(), "checked": list(checked)}
    facts["warnings"] = warnings(facts, outcome.warnings)
    facts["summary"] = lines(facts)
    return Report(_flat(facts), drawn, curves, swept, facts, facts["summary"], facts["warnings"])


def _sweep(outcome: Outcome, match: str, seed: int, steps: int) -> tuple[list[Curve], Grid | None]:
    """Each modality alone, and both over the grid."""
    sides, chances = outcome.sides, outcome.chances
    curves = [curve(side, alone(side, chance), seed, steps) for side, chance in zip(sides, chances, strict=True)]
    audio, visual = sides
    return curves, grid(audio, visual, joint(sides, chances), seed, steps) if match == "any" else None


def _ways(
    outcome: Outcome, ids: Int64[np.ndarray, "snippet way"]
) -> list[tuple[str, Int64[np.ndarray, " snippet"], Sequence[Modality]]]:
    """The name of each way to be positive, its component ids, and the modalities whose edges made them."""
    if ids.shape[1] == 1:
        return [("joint", ids[:, 0], outcome.sides)]
    return [(side.name, own, [side]) for side, own in zip(outcome.sides, ids.T, strict=True)]


def _counts(outcome: Outcome, match: str) -> dict[str, Any]:
    """The components in numbers, before refinement and after it."""
    snippets, reached = len(outcome.ids), reach(outcome.ids)
    batches = [count for count in BATCHES if count <= snippets] or [snippets]
    return {
        "snippets": snippets,
        "videos": snippets // SECONDS,
        "match": match,
        "closure": "joint" if outcome.ids.shape[1] == 1 else "per_modality",
        "literal": _numbers(outcome, outcome.literal, outcome.pi0_literal),
        "chosen": _numbers(outcome, outcome.ids, outcome.pi0),
        "reach": reached,
        "rounds": outcome.rounds,
        "failing": outcome.failing,
        "batches": [_batch(count, reached.positive_chance) for count in batches],
        "sizes": _sizes(outcome),
    }


def _numbers(outcome: Outcome, ids: Int64[np.ndarray, "snippet way"], estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Of each way its shape and π0."""
    ways = zip(_ways(outcome, ids), estimates, strict=True)
    return {way: asdict(shape(own)) | {"pi0": pi0} for (way, own, _), pi0 in ways}


def _batch(snippets: int, chance: float) -> dict[str, float]:
    """What a batch of so many snippets, whole videos, holds on average; pairs counted once, of two videos."""
    pairs = snippets * (snippets - SECONDS) / 2
    return {"snippets": snippets, "pairs": pairs, "positives": pairs * chance, "each": (snippets - SECONDS) * chance}


def _sizes(outcome: Outcome) -> dict[str, Any]:
    """Components and the snippets in them by size: 1, 2 to 3, 4 to 7, …, before refinement and after it."""
    highest = max(int(np.bincount(way).max()) for ids in (outcome.literal, outcome.ids) for way in ids.T)
    bounds = [2**power for power in range(highest.bit_length() + 1)]
    found: dict[str, Any] = {"from": bounds[:-1]}
    for when, ids in (("literal", outcome.literal), ("chosen", outcome.ids)):
        for way, own, _ in _ways(outcome, ids):
            sizes = np.bincount(own)
            components, _ = np.histogram(sizes, bounds)
            snippets, _ = np.histogram(sizes, bounds, weights=sizes)
            found.setdefault(when, {})[way] = {"components": components.tolist(), "snippets": snippets.tolist()}
    return found


def _side(side: Modality, choice: Choice | None, keys: Sequence[str], sample: Samples, swept: Curve) -> dict[str, Any]:
    hubs = np.flatnonzero(side.hubs)
    return {
        "feature": side.matrix.feature,
        "width": side.matrix.width,
        "made": side.matrix.told,
        "threshold": side.threshold,
        "floor": side.floor,
        "choice": choice and {"reason": choice.reason, "clean": choice.clean, "levels": choice.levels},
        "engine": side.engine,
        "exact": side.exact,
        "zero_rows": int(side.matrix.zero.sum()),
        "copies": side.copies,
        "hubs": len(hubs),
        "hubs_keep_edges": bool((side.hubs & ~side.without).any()),
        "hubs_named": named(hubs[:LISTED], keys),
        "saturated_share": float(side.saturated.mean()),
        "forest_edges": len(side.forest.edges),
        "similarity_percentiles": {name: _percentiles(values) for name, values in vars(sample).items()},
        "sweep": swept.facts(),
    }


def _percentiles(values: Float32[np.ndarray, " pair"]) -> dict[str, float]:
    levels = (0, 1, 5, 25, 50, 75, 95, 99, 99.9, 100)
    return {f"{level:g}": float(np.percentile(values, level)) for level in levels} if len(values) else {}


def _plain(value: Any) -> Any:
    """Dataclasses, mappings and sequences as JSON has them."""
    if hasattr(value, "__dataclass_fields__"):
        return _plain(vars(value))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _flat(facts: dict[str, Any]) -> dict[str, float]:
    """The chosen components' numbers, and what they reach, under single names."""
    found: dict[str, float] = {}
    for way, numbers in facts["chosen"].items():
        before = "" if way == "joint" else f"{way}_"
        found |= {before + name: float(value) for name, value in numbers.items() if name != "pi0"}
        found |= {
            f"{before}pi0": numbers["pi0"]["value"],
            f"{before}pi0_literal": facts["literal"][way]["pi0"]["value"],
        }
    return found | facts["reach"]
