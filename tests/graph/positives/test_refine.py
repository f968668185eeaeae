from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.forests.forest import Edges, components
from graph.positives import refine as refinement
from graph.positives.chance import Chance, Crossing, joint, pi0
from graph.positives.closure import ways
from graph.positives.refine import refine
from graph.positives.thresholds import ThresholdSettings
from shards.schema import SECONDS

SETTINGS = ThresholdSettings()
TOLERANT = ThresholdSettings(largest=1.0)


def edges_of(pairs: list[tuple[int, int]], similarity: float = 0.9) -> Edges:
    first, second = np.array(pairs, np.int32).reshape(-1, 2).T
    return Edges(first, second, np.full(len(first), similarity, np.float32))


def videos(*numbers: int) -> list[int]:
    return [video * SECONDS + second for video in numbers for second in range(SECONDS)]


def crowd(*numbers: int) -> list[tuple[int, int]]:
    """Every two snippets of these videos."""
    return list(combinations(videos(*numbers), 2))


def across(one: int, other: int) -> list[tuple[int, int]]:
    """Every snippet of a video with every one of another."""
    return [(first, second) for first in videos(one) for second in videos(other)]


def by_kind(kinds: np.ndarray) -> Callable:
    """Calls two snippets unlike that are not of one kind of video."""
    return lambda first, second: kinds[first // SECONDS] != kinds[second // SECONDS]


def parts(ids: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(ids == one).tolist()) for one in np.unique(ids)}


def nobody(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.zeros(len(first), bool)


def everybody(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.ones(len(first), bool)


@st.composite
def tangles(draw: st.DrawFn) -> tuple[int, list[Edges], int]:
    """Random edges of one or two modalities over a few videos, and a seed."""
    snippets = SECONDS * draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    layers = []
    for _ in range(draw(st.integers(1, 2))):
        first, second = random.integers(0, snippets, (2, draw(st.integers(0, 90)))).astype(np.int32)
        apart = first != second
        similarity = random.choice([0.7, 0.8, 0.9], len(first)).astype(np.float32)
        layers.append(Edges(first, second, similarity).where(apart))
    return snippets, layers, draw(st.integers(0, 3))


@given(tangles())
@settings(deadline=None, max_examples=150)
def test_refinement_only_ever_splits_and_ends_where_nothing_fails_or_its_rounds_do(
    tangle: tuple[int, list[Edges], int],
) -> None:
    snippets, layers, seed = tangle
    ids = components(snippets, layers)
    odd = np.random.default_rng(seed).random((snippets, snippets)) < 0.2

    def unlike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return odd[np.minimum(first, second), np.maximum(first, second)]

    found = refine(ids, layers, unlike, TOLERANT, seed)
    assert len(parts(found.ids)) == len(parts(found.ids * (ids.max() + 1) + ids))  # each part inside one component
    assert (np.unique(found.ids, return_index=True)[1][1:] > np.unique(found.ids, return_index=True)[1][:-1]).all()
    rest = [one for one in parts(found.ids) if fails(one, unlike)]
    assert len(rest) == found.failing
    assert not rest or len(found.rounds) == refinement.ROUNDS
    passed = [one for one in parts(ids) if not fails(one, unlike)]
    assert parts(found.ids).issuperset(passed)  # what holds is left alone


def fails(part: frozenset[int], unlike: Callable) -> bool:
    pairs = [pair for pair in combinations(sorted(part), 2) if pair[0] // SECONDS != pair[1] // SECONDS]
    return bool(pairs) and 2 * unlike(*np.array(pairs).T).mean() > TOLERANT.pi0


@given(tangles(), st.permutations(range(40)))
@settings(deadline=None)
def test_what_components_are_called_does_not_matter(tangle: tuple[int, list[Edges], int], names: list[int]) -> None:
    snippets, layers, seed = tangle
    ids = components(snippets, layers)
    kinds = np.arange(4) % 2
    one = refine(ids, layers, by_kind(kinds), SETTINGS, seed)
    other = refine(np.array(names, np.int64)[ids], layers, by_kind(kinds), SETTINGS, seed)
    assert np.array_equal(one.ids, other.ids)


def test_a_bridge_falls_to_one_side_and_an_orphan_to_where_its_edges_lead() -> None:
    kinds = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0])  # video 8 looks like the first crowd and sounds like the second
    pictures = crowd(0, 1, 2, 3, 8) + crowd(4, 5, 6, 7)
    sounds = across(4, 8) + across(0, 9)  # nobody looks like video 9; it sounds like video 0
    layers = [edges_of(sounds), edges_of(pictures)]
    ids = components(100, layers)
    assert len(np.unique(ids)) == 1
    found = refine(ids, layers, by_kind(kinds), TOLERANT, 0)
    assert parts(found.ids) == {frozenset(videos(0, 1, 2, 3, 8, 9)), frozenset(videos(4, 5, 6, 7))}
    assert [each.by for each in found.rounds] == ["one modality, then votes"]
    assert (found.rounds[0].tested, found.rounds[0].failed, found.rounds[0].snippets) == (1, 1, 100)
    assert found.rounds[0].pi0.value == found.failing == 0


def test_strangers_who_were_voted_in_go_when_one_modality_decides() -> None:
    kinds = np.array([0, 0, 0, 0, 1])
    layers = [edges_of(across(3, 4)), edges_of(crowd(0, 1, 2, 3))]  # video 4 only sounds like video 3
    found = refine(components(50, layers), layers, by_kind(kinds), TOLERANT, 0)
    assert [each.by for each in found.rounds] == ["one modality, then votes", "one modality"]
    assert parts(found.ids) >= {frozenset(videos(0, 1, 2, 3))}


def test_whom_the_modality_with_most_edges_gives_company_is_not_voted_away() -> None:
    kinds = np.array([0, 0, 1, 1, 0])
    pictures = crowd(0, 1) + crowd(2, 3) + [(second, 40 + second) for second in range(10)]  # one each of video 4
    sounds = across(2, 4) + across(3, 4)  # and twenty each that lead elsewhere
    layers = [edges_of(sounds), edges_of(pictures)]
    found = refine(components(50, layers), layers, by_kind(kinds), TOLERANT, 0)
    assert parts(found.ids) == {frozenset(videos(0, 1, 4)), frozenset(videos(2, 3))}
    assert [each.by for each in found.rounds] == ["one modality, then votes"]


def test_an_edge_that_is_listed_often_has_one_vote() -> None:
    kinds = np.array([0, 0, 1, 1, 1])
    sounds = edges_of([(0, 40)] * 5 + [(20, 40), (21, 40)])  # the first second of video 4: a shout, or two friends
    layers = [sounds, edges_of(crowd(0, 1) + crowd(2, 3))]
    found = refine(components(50, layers), layers, by_kind(kinds), TOLERANT, 0)
    assert frozenset([*videos(2, 3), 40]) in parts(found.ids)


@pytest.mark.parametrize("seed", range(5))
def test_one_modality_is_split_by_votes_and_then_by_stronger_ones(seed: int) -> None:
    kinds = np.array([0, 0, 0, 1, 1, 1])
    thin = Edges.joined([edges_of(crowd(0, 1, 2)), edges_of(crowd(3, 4, 5)), edges_of([(0, 30), (11, 42)])])
    found = refine(components(60, [thin]), [thin], by_kind(kinds), TOLERANT, seed)
    assert parts(found.ids) == {frozenset(videos(0, 1, 2)), frozenset(videos(3, 4, 5))}
    assert [each.by for each in found.rounds] == ["votes"]
    random = np.random.default_rng(seed)
    inside = [(0, 1, 2), (3, 4, 5)]
    strong = [
        Edges(e.first, e.second, random.uniform(0.9, 1, len(e)).astype(np.float32))
        for e in (edges_of(crowd(*numbers)) for numbers in inside)
    ]
    weak = edges_of([(one, other) for one in videos(0, 1, 2) for other in videos(3, 4, 5)], 0.5)
    thick = Edges.joined([*strong, weak])
    found = refine(components(60, [thick]), [thick], by_kind(kinds), TOLERANT, seed)
    assert parts(found.ids) == {frozenset(videos(0, 1, 2)), frozenset(videos(3, 4, 5))}
    assert [each.by for each in found.rounds] == ["votes", "stronger votes"]


def test_too_large_a_component_is_split_though_it_looks_alike() -> None:
    layers = [edges_of(crowd(0, 1, 2) + crowd(3, 4, 5) + [(0, 30)])]
    ids = components(200, layers)
    assert np.array_equal(refine(ids, layers, nobody, ThresholdSettings(largest=0.3), 0).ids, ids)
    found = refine(ids, layers, nobody, ThresholdSettings(largest=0.2), 0)
    assert parts(found.ids) >= {frozenset(videos(0, 1, 2)), frozenset(videos(3, 4, 5))}


def test_components_inside_one_video_are_never_tested() -> None:
    layers = [edges_of(crowd(0) + crowd(1))]
    found = refine(components(20, layers), layers, everybody, SETTINGS, 0)
    assert (found.rounds, found.failing) == ((), 0)


def test_what_still_fails_when_the_rounds_are_over_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refinement, "ROUNDS", 1)
    layers = [edges_of(crowd(0, 1, 2)), edges_of(crowd(3, 4))]
    found = refine(components(60, layers), layers, everybody, TOLERANT, 0)
    assert (found.failing, len(found.rounds)) == (2, 1)


def test_no_edges_and_no_snippets_are_refined_to_themselves() -> None:
    assert refine(np.arange(30), [Edges.none()], everybody, SETTINGS, 0).ids.tolist() == list(range(30))
    assert len(refine(np.empty(0, np.int64), [Edges.none()], everybody, SETTINGS, 0).ids) == 0


def test_large_components_are_judged_by_a_sample() -> None:
    layers = [edges_of([(snippet, snippet + 1) for snippet in range(599)])]
    looked = []

    def unlike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        looked.append(len(first))
        return np.zeros(len(first), bool)

    refine(components(600, layers), layers, unlike, TOLERANT, 0)
    assert looked == [refinement.SAMPLE]


@pytest.mark.parametrize(("classes", "noise", "seed"), [(60, 0.7, 0), (40, 0.8, 2), (60, 1.0, 1)])
def test_a_planted_corpus_is_chained_by_the_literal_rule_and_clean_after_refinement(
    planted: Callable, classes: int, noise: float, seed: int
) -> None:
    world = planted(300, classes, 0.3, noise, seed)
    chances = [Chance.drawn(side, 20_000, 0) for side in world.sides]
    (way,) = ways(world.at(0.68, 0.63), chances, "any", "joint")
    literal = components(3000, [way.cut])
    found = refine(literal, way.layers(), joint(world.sides, chances), SETTINGS, 0)
    assert world.wrong(literal) > 0.8
    assert world.wrong(found.ids) < 0.06
    before, after = (float((Crossing.of(ids).partners > 0).mean()) for ids in (literal, found.ids))
    assert after > 0.75 * before
    judged = pi0(found.ids, way.unlike, 20_000, 1)
    assert judged.value <= SETTINGS.pi0
    assert found.rounds[-1].pi0.value == pytest.approx(judged.value, abs=0.01)
    again = refine(literal, way.layers(), way.unlike, SETTINGS, 0)
    assert np.array_equal(found.ids, again.ids)
    assert found.rounds == again.rounds
