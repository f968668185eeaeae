from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from graph.positives.chance import Chance, Crossing, alone, doubled, joint, pi0, same_component_pairs
from shards.schema import SECONDS


def pairs_by_loops(ids: np.ndarray) -> set[tuple[int, int]]:
    return {
        (one, other)
        for one, other in combinations(range(len(ids)), 2)
        if ids[one] == ids[other] and one // SECONDS != other // SECONDS
    }


labellings = st.lists(st.integers(-2, 4), max_size=45).map(lambda ids: np.array(ids, np.int64))


@given(labellings)
def test_where_pairs_are_few_each_comes_exactly_once(ids: np.ndarray) -> None:
    expected = pairs_by_loops(ids)
    first, second = same_component_pairs(ids, 2000, np.random.default_rng(0))
    assert Crossing.of(ids).count == len(expected) == len(first)
    assert {(int(min(pair)), int(max(pair))) for pair in zip(first, second, strict=True)} == expected


@given(labellings)
def test_every_ordered_pair_has_one_number(ids: np.ndarray) -> None:
    crossing = Crossing.of(ids)
    first, second = crossing.numbered(np.arange(2 * crossing.count))
    expected = pairs_by_loops(ids)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected | {pair[::-1] for pair in expected}


@pytest.mark.parametrize("sizes", [[400, 3, 3, 14], [12] * 35])
def test_drawn_pairs_are_uniform_whether_one_component_is_huge_or_all_are_small(sizes: list[int]) -> None:
    ids = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    expected = pairs_by_loops(ids)
    share = np.array([sum(ids[one] == kind for one, _ in expected) / len(expected) for kind in range(len(sizes))])
    draws = len(expected) - 1
    first, second = same_component_pairs(ids, draws, np.random.default_rng(2))
    assert (ids[first] == ids[second]).all()
    assert (first // SECONDS != second // SECONDS).all()
    found = np.bincount(ids[first], minlength=len(sizes))
    deviation = (found - draws * share) / np.sqrt(draws * share * (1 - share) + 1e-9)
    assert np.abs(deviation).max() < 5


def test_random_pairs_are_of_two_videos_and_never_of_snippets_without_edges(side_of: Callable) -> None:
    rows = np.zeros((60, 8))
    rows[np.arange(60), np.arange(60) // 10] = 1  # cosine 1 inside a video, 0 across
    rows[40:] = [0, 0, 0, 0, 0, 0, 1, 1]  # two silent videos, alike
    without = np.arange(60) >= 40
    assert not Chance.drawn(side_of(rows, without=without), 500, 0).cosines.any()
    assert Chance.drawn(side_of(rows), 500, 0).cosines.max() == pytest.approx(1, abs=1e-3)


def test_ranks_are_the_share_of_random_pairs_that_are_less_similar_and_the_median_halves_them() -> None:
    chance = Chance(np.array([0, 0, 0.25, 0.5], np.float32))
    assert chance.rank(np.array([-1, 0, 0.1, 0.5, 0.6], np.float32)).tolist() == [0, 0, 0.5, 0.75, 1]
    assert chance.median == 0.125
    assert Chance(np.empty(0, np.float32)).rank(np.array([0.5], np.float32)).tolist() == [0]


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.4, 1.0])
def test_pi0_is_the_planted_share_of_unlike_pairs_in_one_modality_and_in_two(side_of: Callable, wrong: float) -> None:
    random = np.random.default_rng(3)
    videos, classes = 240, 40
    kinds = np.arange(videos) // 6
    sides = []
    for width in (24, 40):
        prototypes = random.normal(size=(classes, width))
        rows = prototypes[kinds][:, None] + 0.4 * random.normal(size=(videos, SECONDS, width))
        sides.append(side_of(rows.reshape(-1, width)))
    together = np.repeat(kinds, SECONDS)
    scattered = np.repeat(random.permutation(videos) // 6, SECONDS) + classes  # six videos of any classes
    ids = np.where(np.repeat(random.random(videos) < wrong, SECONDS), scattered, together)
    first, second = same_component_pairs(ids, 10**6, random)
    truth = float((together[first] != together[second]).mean())
    chances = [Chance.drawn(side, 20_000, 0) for side in sides]
    for unlike in (alone(sides[0], chances[0]), alone(sides[1], chances[1]), joint(sides, chances)):
        found = pi0(ids, unlike, 20_000, 0)
        assert found.value == pytest.approx(truth, abs=0.06)
        assert found.low <= found.value <= found.high
        assert found.pairs == min(20_000, len(first))


def test_silence_alike_gives_no_rank_and_the_other_modality_judges_alone(side_of: Callable) -> None:
    random = np.random.default_rng(4)
    silence = np.ones((200, 8)) + 0.01 * random.normal(size=(200, 8))
    pictures = random.normal(size=(200, 16))
    without = np.arange(200) < 100
    silence[100:] = random.normal(size=(100, 8))
    audio, visual = side_of(silence, without=without), side_of(pictures)
    chances = [Chance.drawn(side, 20_000, 0) for side in (audio, visual)]
    ids = np.where(without, 0, np.arange(1, 201))  # all that is silent in one component
    assert pi0(ids, joint([audio, visual], chances), 20_000, 0).value == pytest.approx(1, abs=0.1)
    heard = side_of(silence)
    hearing = joint([heard, visual], [Chance.drawn(heard, 20_000, 0), chances[1]])
    assert pi0(ids, hearing, 20_000, 0).value < 0.1


def test_a_pair_that_no_modality_can_judge_is_unlike(side_of: Callable) -> None:
    half = np.repeat([True, True, False, False], SECONDS)
    rows = np.ones((40, 4))
    sides = [side_of(rows, without=half), side_of(rows, without=~half)]
    chances = [Chance.drawn(side, 100, 0) for side in sides]
    ids = np.repeat([0, 1, 0, 2], SECONDS)
    assert pi0(ids, joint(sides, chances), 20_000, 0).value == 1.0


def test_without_a_pair_of_two_videos_nothing_is_known(side_of: Callable) -> None:
    side = side_of(np.eye(20))
    chance = Chance.drawn(side, 100, 0)
    found = pi0(np.arange(20), alone(side, chance), 20_000, 0)
    assert (found.value, found.low, found.high, found.pairs) == (0.0, 0.0, 1.0, 0)
    one = side_of(np.eye(10))
    assert len(Chance.drawn(one, 100, 0).cosines) == 0


def test_the_interval_is_twice_clopper_and_pearsons() -> None:
    for below, pairs in ((0, 50), (3, 50), (20, 50), (50, 50)):
        exact = binomtest(below, pairs).proportion_ci(method="exact")
        found = doubled(below, pairs)
        assert found.low == pytest.approx(min(2 * exact.low, 1))
        assert found.high == pytest.approx(min(2 * exact.high, 1))


def test_the_same_seed_draws_the_same_pairs_and_another_seed_others() -> None:
    ids = np.random.default_rng(7).integers(0, 5, 400)
    one, again, other = (same_component_pairs(ids, 100, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
