"""From forests to positives: thresholds, components, tests, refinement, and sentences where the result is doubtful."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Int64

from graph.forests.forest import Forest, components
from graph.modality import Modality
from graph.positives import refine as refinement
from graph.positives.chance import Chance, Crossing, Estimate, pi0
from graph.positives.closure import Closure, Match, Way, ways
from graph.positives.refine import Refined, Round
from graph.positives.thresholds import Choice, ThresholdSettings, choose
from launch.refusal import Refusal

Refine = Literal["propagation", "none"]
ALARM = 0.05
"""π0 above which components should not be trained on without a second look."""


@dataclass(frozen=True)
class Outcome:
    """The positives, and how they came about; what is one a way has one for closure "joint", two for "per_modality"."""

    sides: tuple[Modality, ...]
    """With the chosen thresholds."""
    choices: Mapping[str, Choice | None]
    """By modality; None where the threshold was given."""
    chances: tuple[Chance, ...]
    """One a modality."""
    literal: Int64[np.ndarray, "snippet way"]
    """The components as the edges give them."""
    ids: Int64[np.ndarray, "snippet way"]
    """The components that count: after refinement, if there is any. 0, 1, 2, … by first appearance in each way."""
    pi0_literal: tuple[Estimate, ...]
    """Of `literal`, one a way."""
    pi0: tuple[Estimate, ...]
    """Of `ids`, one a way."""
    rounds: tuple[Round, ...]
    """Of refinement, in order, way by way; none where nothing failed, or nothing was to be refined."""
    failing: int
    """Components that still failed after the last round."""
    both: Forest | None
    """Of match "all": the forest of the pairs similar in both, weighed by their smaller margin over these thresholds.

    It holds the literal components at 0, and says nothing of other thresholds.
    """
    warnings: tuple[str, ...]
    """Sentences."""


def decide(
    sides: Sequence[Modality],
    thresholds: Mapping[str, float | None],
    match: Match,
    closure: Closure,
    refine: Refine,
    settings: ThresholdSettings,
    seed: int,
) -> Outcome:
    """The components of every snippet; a threshold that is None is chosen from the data.

    Raises Refusal when no pair is above the thresholds, and for match "all" with closure "per_modality".
    """
    chances = tuple(Chance.drawn(side, settings.pairs, seed) for side in sides)
    choices: dict[str, Choice | None] = {side.name: None for side in sides}
    chosen = []
    for side, chance in zip(sides, chances, strict=True):
        threshold = thresholds[side.name]
        if threshold is None:
            choice = choices[side.name] = choose(side, chance, settings, seed)
            threshold = choice.threshold
        chosen.append(replace(side, threshold=threshold))
    found = ways(chosen, chances, match, closure)
    if not any(len(way.cut) for way in found):
        raise Refusal(_edgeless(chosen, choices, match, settings))
    literal = [components(len(way.sides[0].matrix), [way.cut]) for way in found]
    refined = [_refined(way, ids, refine, settings, seed) for way, ids in zip(found, literal, strict=True)]
    ids = [one.ids for one in refined]
    after = _judged(found, ids, settings, seed)
    unclean = [choice.reason for choice in choices.values() if choice and not choice.clean]
    return Outcome(
        sides=tuple(chosen),
        choices=choices,
        chances=chances,
        literal=np.stack(literal, axis=1),
        ids=np.stack(ids, axis=1),
        pi0_literal=_judged(found, literal, settings, seed),
        pi0=after,
        rounds=tuple(each for one in refined for each in one.rounds),
        failing=sum(one.failing for one in refined),
        both=found[0].both,
        warnings=(*unclean, *_doubts(found, refined, after, refine, settings)),
    )


def _edgeless(
    sides: Sequence[Modality], choices: Mapping[str, Choice | None], match: Match, settings: ThresholdSettings
) -> str:
    """Why there is not one edge, and what could be done about it."""
    states = []
    for side in sides:
        edges, automatic = side.forest.edges, "chosen automatically, " if choices[side.name] else ""
        best = f"highest similarity {edges.similarity[0]:.4f}" if len(edges) else "no pair above the floor"
        hubs = f"{int(side.hubs.sum())} of {len(side.hubs)} snippets hubs"
        states.append(f"{side.name} {side.threshold:g} ({automatic}{best}, {hubs})")
    why, remedies = "", []
    if unclean := [name for name, choice in choices.items() if choice and not choice.clean]:
        why = (
            f"; no {' and no '.join(unclean)} threshold that links two videos keeps the limits (π0 ≤ {settings.pi0:g}, "
            f"largest component ≤ {settings.largest:.0%} of the snippets)"
        )
        given = " and ".join(f"threshold_{name}" for name in unclean)
        remedies.append(f"give {given}, or raise choice.pi0 or choice.largest")
    others = [side for side in sides if side.name not in unclean and not side.without.all()]
    if others:
        above = [len(side.forest.edges) and side.threshold > side.floor for side in others]
        lower = [f"{'threshold' if one else 'floor'}_{side.name}" for one, side in zip(above, others, strict=True)]
        remedies.append(f"lower {' or '.join(lower)}")
    if any((side.hubs & side.without).any() for side in sides):
        remedies.append("set hubs.exclude to False")
    return (
        f"A graph needs at least one edge, but no pair of snippets is above {'both' if match == 'all' else 'any'} "
        f"of the thresholds, {' and '.join(states)}{why}: {', or '.join(remedies)}."
    )


def _refined(
    way: Way, literal: Int64[np.ndarray, " snippet"], refine: Refine, settings: ThresholdSettings, seed: int
) -> Refined:
    if refine == "none":
        return Refined(literal, (), 0)
    return refinement.refine(literal, way.layers(), way.unlike, settings, seed, way.name)


def _judged(
    found: Sequence[Way], ids: Sequence[Int64[np.ndarray, " snippet"]], settings: ThresholdSettings, seed: int
) -> tuple[Estimate, ...]:
    return tuple(pi0(one, way.unlike, settings.pairs, seed) for way, one in zip(found, ids, strict=True))


def _doubts(
    found: Sequence[Way],
    refined: Sequence[Refined],
    after: Sequence[Estimate],
    refine: Refine,
    settings: ThresholdSettings,
) -> list[str]:
    """Why these components may not be worth training on."""
    doubts = []
    for way, one, estimate in zip(found, refined, after, strict=True):
        largest = Crossing.of(one.ids).largest
        if estimate.value > ALARM:
            literal = refine == "none"
            doubts.append(
                f"Of the {way.name} components' pairs of two videos {estimate.value:.0%} look random (π0; 95% interval "
                f"{estimate.low:.1%} to {estimate.high:.1%}), more than {ALARM:.0%}: pre-training would pull unlike "
                f"snippets to one point. {'Set refine to propagation' if literal else 'Raise a threshold'}, or set "
                f"closure to per_modality, before you train on them."
            )
        if largest > settings.largest:
            doubts.append(
                f"The largest {way.name} component of several videos holds {largest:.1%} of all snippets, more than "
                f"{settings.largest:.0%}: its members would all be pulled to one point. Look at them in the report, "
                f"then raise a threshold{_hubs_with_edges(way)}."
            )
        if one.failing:
            doubts.append(
                f"{one.failing:,} {way.name} components still fail after {len(one.rounds)} rounds of refinement, and "
                "were left as they are: the report lists the largest ones."
            )
    return doubts


def _hubs_with_edges(way: Way) -> str:
    """The remedy for hubs that have edges, where there are any."""
    kept = [f"{count:,} {side.name}" for side in way.sides if (count := int((side.hubs & ~side.without).sum()))]
    return f", or set hubs.exclude to True, since {' and '.join(kept)} hubs have edges" if kept else ""
