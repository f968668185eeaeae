from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.forests.forest import Edges, Forest, components
from graph.positives.chance import pi0
from graph.report.shape import shape
from graph.report.sweep import NUMBERS, curve, grid, levels

Make = Callable


@given(st.integers(2, 8), st.integers(0, 120), st.integers(0, 120), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_every_cell_has_the_numbers_of_components_found_anew(
    side_of: Make, random_forest: Make, videos: int, heard: int, seen: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    audio = side_of(random_forest(random, videos, heard), "audio", threshold=0.75)  # a step: many edges tie with it
    visual = side_of(random_forest(random, videos, seen), "visual", threshold=0.8)
    found = grid(audio, visual, None, seed, steps=9)
    for row, one in enumerate(found.audio):
        for column, other in enumerate(found.visual):
            anew = components(videos * 10, [audio.forest.cut(one), visual.forest.cut(other)])
            assert found.cells[row][column].shape == shape(anew)
    alone = curve(visual, None, seed, steps=9)
    for threshold, cell in zip(alone.thresholds, alone.cells, strict=True):
        assert cell.shape == shape(components(videos * 10, [visual.forest.cut(threshold)]))


def test_a_large_planted_forest_has_them_too(side_of: Make, random_forest: Make) -> None:
    random = np.random.default_rng(1)
    audio, visual = (side_of(random_forest(random, 400, 3500, steps=900), name) for name in ("audio", "visual"))
    found = grid(audio, visual, None, 0, steps=12)
    shares = set()
    for row, one in enumerate(found.audio):
        for column, other in enumerate(found.visual):
            anew = shape(components(4000, [audio.forest.cut(one), visual.forest.cut(other)]))
            assert found.cells[row][column].shape == anew
            shares.add(round(anew.chained_share, 1))
    assert len(shares) > 5  # from next to nothing to nearly all: the forests percolate inside the grid


def test_forests_without_edges_leave_every_snippet_alone_in_every_cell(side_of: Make) -> None:
    audio, visual = (side_of(Forest.empty(20), name) for name in ("audio", "visual"))
    found = grid(audio, visual, lambda first, second: np.ones(len(first), bool), 0, steps=5)
    for row in found.cells:
        for cell in row:
            assert cell.shape.components == cell.shape.singletons == 20
            assert cell.shape.linked_share == cell.shape.positive_chance == 0
            assert cell.pi0.pairs == 0
    assert np.isnan(found.values("pi0")).all()
    assert found.facts()["pi0"][0][0] is None


def test_the_levels_hold_the_floor_and_the_chosen_threshold_and_are_not_more_than_asked_for(
    side_of: Make, random_forest: Make
) -> None:
    forest = random_forest(np.random.default_rng(2), 50, 400, steps=700)
    side = side_of(forest, threshold=0.7777)
    for steps in (4, 9, 50):
        found = levels(side, steps)
        assert len(found) <= steps
        assert (np.diff(found) > 0).all()
        assert found[0] == np.float32(0.5)
        assert np.float32(0.7777) in found
    assert grid(side, side, None, 0, steps=4).place(0.7777, 0.7777)[0] == int(np.searchsorted(levels(side, 4), 0.7777))


def test_quantiles_follow_the_edges_between_videos_not_those_inside(side_of: Make) -> None:
    inside = Edges(np.arange(0, 9), np.arange(1, 10), np.full(9, 0.99, np.float32))
    between = Edges(np.arange(9), np.arange(10, 19), np.linspace(0.6, 0.61, 9, dtype=np.float32))
    side = side_of(Forest.grown(20, [inside, between]))
    found = levels(side, 30)
    assert ((found >= 0.6) & (found <= np.float32(0.61))).sum() > 15


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=5)
def test_pi0_of_a_cell_lies_by_that_of_its_components_found_anew(side_of: Make, random_forest: Make, seed: int) -> None:
    random = np.random.default_rng(seed)
    audio, visual = (side_of(random_forest(random, 30, 250, steps=50), name) for name in ("audio", "visual"))

    def unlike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return (np.minimum(first, second) * 7919 + np.maximum(first, second) * 104729) % 100 < 20  # of a pair, always

    found = grid(audio, visual, unlike, seed, steps=8, pairs=3000)
    for row, one in enumerate(found.audio):
        for column, other in enumerate(found.visual):
            anew = components(300, [audio.forest.cut(one), visual.forest.cut(other)])
            every = pi0(anew, unlike, 10**6, 0)  # of all pairs there are
            estimate = found.cells[row][column].pi0
            assert bool(estimate.pairs) == bool(every.pairs)
            if every.pairs:
                assert estimate.value == pytest.approx(every.value, abs=0.085)  # five deviations and a half


def test_pairs_are_judged_only_when_they_are_new(side_of: Make, random_forest: Make) -> None:
    forest = random_forest(np.random.default_rng(3), 60, 700, steps=300)
    asked = []

    def unlike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        asked.append(len(first))
        return np.zeros(len(first), bool)

    found = curve(side_of(forest), unlike, 0, steps=20, pairs=500)
    sampled = sum(cell.pi0.pairs for cell in found.cells)
    assert 500 <= sum(asked) < 0.6 * sampled
    assert asked[0] == 500


def test_the_same_seed_gives_the_same_sample(side_of: Make, random_forest: Make) -> None:
    side = side_of(random_forest(np.random.default_rng(4), 40, 400))

    def unlike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return (first + second) % 3 == 0

    first, again, other = (curve(side, unlike, seed, 10, 200).values("pi0") for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)


def test_the_facts_are_plain_numbers_by_name(side_of: Make, random_forest: Make) -> None:
    side = side_of(random_forest(np.random.default_rng(4), 10, 60))
    facts = grid(side, replace(side, name="visual"), None, 0, steps=5).facts()
    assert set(facts) == {"audio", "visual", *NUMBERS}
    assert len(facts["linked_share"]) == len(facts["audio"])
    assert len(facts["linked_share"][0]) == len(facts["visual"])
