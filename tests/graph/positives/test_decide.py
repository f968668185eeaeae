from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graph.forests.forest import Edges, Forest, components
from graph.modality import Modality
from graph.positives import refine
from graph.positives.decide import Outcome, decide
from graph.positives.thresholds import ThresholdSettings
from launch.refusal import Refusal

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


@pytest.mark.parametrize("closure", ["joint", "per_modality"])
@pytest.mark.parametrize("how", ["propagation", "none"])
def test_the_forest_of_pairs_similar_in_both_is_kept_where_it_was_made(
    decided: Callable, how: str, closure: str
) -> None:
    assert decided(closure, how).both is None
    if closure == "joint":
        found = decided(match="all", how=how)
        assert np.array_equal(components(2000, [found.both.cut(0)]), found.literal[:, 0])
        edges = found.both.edges
        margins = [side.matrix.pairs(edges.first, edges.second) - side.threshold for side in found.sides]
        assert edges.similarity == pytest.approx(np.minimum(*margins), abs=1e-5)


def test_a_modality_that_no_threshold_makes_clean_is_a_warning(side_of: Callable) -> None:
    random = np.random.default_rng(0)
    broken = side_of(np.ones((400, 8)))
    sound = side_of(random.normal(size=(40, 32))[np.arange(40)].repeat(10, axis=0), name="visual")
    found = decide([broken, sound], AUTO, "any", "per_modality", "none", ThresholdSettings(), 0)
    assert found.choices["audio"].reason in found.warnings


@pytest.fixture
def strangers(side_of: Callable) -> list[Modality]:
    """Two modalities of a hundred videos, none alike, chained by edges that are lies; there are no others."""

    def build(name: str) -> Modality:
        side = side_of(np.random.default_rng(0).normal(size=(1000, 16)), name=name)
        chain = np.arange(0, 990, 10, dtype=np.int32)
        lies = Edges(chain, chain + 10, np.full(len(chain), 0.9, np.float32))
        return replace(side, forest=Forest.empty(1000).merge(lies))

    return [build("audio"), build("visual")]


@pytest.mark.parametrize("closure", ["joint", "per_modality"])
def test_where_no_automatic_threshold_links_anything_the_refusal_says_so_and_how_to_go_on(
    strangers: list[Modality], closure: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        decide(strangers, AUTO, "any", closure, "none", ThresholdSettings(), 0)
    assert "audio 0.95 (chosen automatically, highest similarity 0.9000, 0 of 1000 snippets hubs)" in str(refusal.value)
    assert "no audio and no visual threshold that links two videos keeps the limits (π0 ≤ 0.02" in str(refusal.value)
    remedy = "give threshold_audio and threshold_visual, or raise choice.pi0 or choice.largest."
    assert str(refusal.value).endswith(remedy)


@pytest.mark.parametrize(
    ("thresholds", "remedy"),
    [
        ((0.95, 0.95), "lower threshold_audio or threshold_visual."),
        ((None, 0.95), "give threshold_audio, or raise choice.pi0 or choice.largest, or lower threshold_visual."),
    ],
)
def test_given_thresholds_above_all_similarities_are_refused_with_the_highest(
    strangers: list[Modality], thresholds: tuple, remedy: str
) -> None:
    given = dict(zip(AUTO, thresholds, strict=True))
    with pytest.raises(Refusal, match=r"no pair of snippets is above any .*audio .*highest similarity 0\.9") as refusal:
        decide(strangers, given, "any", "joint", "none", ThresholdSettings(), 0)
    assert str(refusal.value).endswith(f": {remedy}")


def test_where_nothing_is_above_the_floors_these_are_to_be_lowered_unless_all_snippets_are_hubs(
    strangers: list[Modality],
) -> None:
    audio, visual = (replace(side, forest=Forest.empty(1000)) for side in strangers)
    everyone = np.ones(1000, bool)
    with pytest.raises(Refusal, match=r"no pair above the floor.*: lower floor_audio or floor_visual\.$"):
        decide([audio, visual], AUTO, "any", "joint", "none", ThresholdSettings(), 0)
    hubs = replace(visual, hubs=everyone, without=everyone)
    with pytest.raises(
        Refusal, match=r"1000 of 1000 snippets hubs.*: lower floor_audio, or set hubs\.exclude to False"
    ):
        decide([audio, hubs], AUTO, "any", "joint", "none", ThresholdSettings(), 0)


def test_pairs_similar_in_each_modality_but_never_in_both_are_refused(strangers: list[Modality]) -> None:
    apart = np.arange(1000) < 500
    sides = [replace(strangers[0], without=apart), replace(strangers[1], without=~apart)]
    with pytest.raises(Refusal, match=r"above both of the thresholds.*lower threshold_audio or threshold_visual\.$"):
        decide(sides, {"audio": 0.8, "visual": 0.8}, "all", "joint", "none", ThresholdSettings(), 0)


def test_hubs_are_blamed_for_a_large_component_only_where_they_have_edges(world: Any) -> None:
    some = np.arange(2000) < 30

    def warned(**changes: np.ndarray) -> str:
        sides = [replace(world.sides[0], **changes), world.sides[1]]
        found = decide(sides, AUTO, "any", "joint", "none", ThresholdSettings(), 0)
        (warning,) = (each for each in found.warnings if each.startswith("The largest joint component"))
        return warning

    assert warned().endswith("Look at them in the report, then raise a threshold.")
    assert warned(hubs=some).endswith(
        "then raise a threshold, or set hubs.exclude to True, since 30 audio hubs have edges."
    )
    assert warned(hubs=some, without=some).endswith("then raise a threshold.")


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
