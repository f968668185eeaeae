from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graph.forests.forest import Forest, components
from graph.positives import refine
from graph.positives.decide import Outcome, decide
from graph.positives.thresholds import ThresholdSettings

AUTO = {"audio": None, "visual": None}


@pytest.fixture(scope="module")
def world(planted: Callable) -> Any:
    """Forty classes, 30% of the videos mismatched: clean in each modality, chained by the literal rule."""
    return planted(200, 40, 0.3, 0.7, 3)


@pytest.fixture(scope="module")
def decided(world: Any) -> Callable[..., Outcome]:
    def run(closure: str = "joint", how: str = "propagation", thresholds: dict = AUTO, match: str = "any") -> Outcome:
        return decide(world.sides, thresholds, match, closure, how, ThresholdSettings(), 0)

    return run


def test_automatic_thresholds_are_chosen_and_explained_and_given_ones_are_kept(decided: Callable) -> None:
    found = decided(thresholds={"audio": None, "visual": 0.7})
    assert found.sides[0].threshold == found.choices["audio"].threshold
    assert found.choices["visual"] is None
    assert found.sides[1].threshold == 0.7
    assert [side.name for side in found.sides] == ["audio", "visual"]


def test_the_literal_rule_is_kept_when_asked_for_and_loudly_doubted(decided: Callable) -> None:
    found = decided(how="none")
    cuts = [side.forest.cut(side.threshold) for side in found.sides]
    assert np.array_equal(found.literal[:, 0], components(2000, cuts))
    assert np.array_equal(found.ids, found.literal)
    assert found.pi0 == found.pi0_literal
    assert found.pi0[0].value > 0.5
    assert found.rounds == ()
    assert any("look random" in each and "Set refine to propagation" in each for each in found.warnings)
    assert any("largest joint component of several videos holds" in each for each in found.warnings)


def test_refinement_is_the_remedy_and_takes_the_doubts_away(decided: Callable, world: Any) -> None:
    found = decided()
    assert found.ids.shape == found.literal.shape == (2000, 1)
    assert found.ids.dtype == np.int64
    assert found.pi0_literal[0].value > 0.5
    assert found.pi0[0].value <= 0.02
    assert world.wrong(found.literal[:, 0]) > 10 * world.wrong(found.ids[:, 0])
    assert found.rounds
    assert found.warnings == ()


def test_each_modality_by_itself_gives_two_columns(decided: Callable) -> None:
    found = decided("per_modality", "none")
    for way, side in enumerate(found.sides):
        own = components(2000, [side.forest.cut(side.threshold)])
        assert np.array_equal(found.ids[:, way], own)
    assert len(found.pi0) == len(found.pi0_literal) == 2
    assert max(each.value for each in found.pi0) < 0.05


def test_per_modality_refines_each_column_and_only_splits_it(decided: Callable, world: Any) -> None:
    found = decided("per_modality", thresholds={"audio": 0.55, "visual": 0.52})
    assert {each.way for each in found.rounds} == {"audio", "visual"}
    for before, after, old, new in zip(found.literal.T, found.ids.T, found.pi0_literal, found.pi0, strict=True):
        assert len(np.unique(after)) == len(np.unique(after * 10_000 + before)) > len(np.unique(before))
        assert new.value < old.value


def test_similar_in_both_is_one_column_of_smaller_components(decided: Callable) -> None:
    both, either = decided(match="all", how="none"), decided(how="none")
    assert both.ids.shape == (2000, 1)
    assert len(np.unique(both.ids)) > len(np.unique(either.ids))


def test_a_modality_that_no_threshold_makes_clean_is_a_warning(side_of: Callable) -> None:
    random = np.random.default_rng(0)
    broken = side_of(np.ones((400, 8)))
    sound = side_of(random.normal(size=(40, 32))[np.arange(40)].repeat(10, axis=0), name="visual")
    found = decide([broken, sound], AUTO, "any", "per_modality", "none", ThresholdSettings(), 0)
    assert found.choices["audio"].reason in found.warnings


def test_what_still_fails_after_the_last_round_is_a_warning(decided: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "ROUNDS", 0)
    found = decided()
    assert found.failing >= 1
    assert any(f"{found.failing} joint components still fail after 0 rounds" in each for each in found.warnings)


def test_one_seed_gives_one_outcome(decided: Callable) -> None:
    one, again = decided(), decided()
    assert np.array_equal(one.ids, again.ids)
    assert (one.pi0, one.rounds, one.warnings) == (again.pi0, again.rounds, again.warnings)


def test_inside_videos_there_is_nothing_to_test_or_to_refine(world: Any) -> None:
    sides = []
    for side in world.sides:
        edges = side.forest.edges
        inside = edges.where(edges.first // 10 == edges.second // 10)
        sides.append(replace(side, forest=Forest.empty(2000).merge(inside), neighbours=None))
    found = decide(sides, AUTO, "any", "joint", "propagation", ThresholdSettings(), 0)
    assert np.array_equal(found.ids, found.literal)
    assert (found.pi0[0].pairs, found.rounds, found.warnings) == (0, (), ())
    assert [side.threshold for side in found.sides] == [side.floor for side in sides]
