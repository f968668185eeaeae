from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from graph.forests.forest import Edges, Forest, components
from graph.forests.saturated import HIGHEST
from graph.positives.chance import Chance, same_component_pairs
from graph.positives.thresholds import Choice, ThresholdSettings, choose, level
from launch.refusal import Refusal
from shards.schema import SECONDS

SETTINGS = ThresholdSettings()


def chosen(side: object, settings: ThresholdSettings = SETTINGS, seed: int = 0) -> Choice:
    return choose(side, Chance.drawn(side, settings.pairs, seed), settings, seed)


@pytest.fixture
def classes(side_of: Callable) -> Callable:
    """Sixty classes of five videos each, at right angles: strangers are as unlike as random pairs are."""

    def build(floor: float = 0.3) -> object:
        random = np.random.default_rng(11)
        rows = 8 * np.linalg.qr(random.normal(size=(64, 64)))[0][np.arange(300) // 5][:, None]
        own = 0.7 * random.normal(size=(300, 1, 64)) + 0.2 * random.normal(size=(300, SECONDS, 64))
        return side_of((rows + own).reshape(-1, 64), floor=floor, k=32)

    return build


def test_the_threshold_is_the_lowest_of_those_looked_at_that_keeps_both_limits_upwards(classes: Callable) -> None:
    found = chosen(classes())
    assert found.clean
    assert [each.threshold for each in found.levels] == sorted((each.threshold for each in found.levels), reverse=True)
    assert all(each.fits(SETTINGS) for each in found.levels[:-1])
    assert not found.levels[-1].fits(SETTINGS)
    assert found.threshold == found.levels[-2].threshold
    assert f"{found.threshold:.4f} is the lowest audio threshold looked at" in found.reason


def test_truth_agrees_with_the_choice(classes: Callable) -> None:
    side = classes()
    kind = np.arange(3000) // 50
    found = chosen(side)

    def wrong(threshold: float) -> float:
        first, second = same_component_pairs(components(3000, [side.forest.cut(threshold)]), 10**7, None)
        return float((kind[first] != kind[second]).mean()) if len(first) else 0.0

    assert wrong(found.threshold) < 0.03 < wrong(found.levels[-1].threshold)
    assert found.levels[-2].linked > 0.8  # not much was given away
    for each in found.levels:
        truth = wrong(each.threshold)  # an upper bound: the strangers that are joined first are those most alike
        assert truth / 2 - 0.01 <= each.pi0.value <= truth + 0.01


def test_levels_are_the_components_in_numbers(classes: Callable) -> None:
    side = classes()
    found = level(side, 0.7, Chance.drawn(side, 20_000, 0), 20_000, 0)
    ids = components(3000, [side.forest.cut(0.7)])
    videos = [np.unique(np.flatnonzero(ids == one) // SECONDS) for one in range(ids.max() + 1)]
    sizes = np.bincount(ids)
    several = np.array([len(one) > 1 for one in videos])
    assert found.components == len(sizes)
    assert found.linked == pytest.approx(sizes[several].sum() / 3000)
    assert found.largest == pytest.approx(sizes[several].max() / 3000)


def test_where_every_level_is_clean_the_floor_is_taken_and_a_lower_one_suggested(classes: Callable) -> None:
    found = chosen(classes(floor=0.7))
    assert (found.threshold, found.clean) == (pytest.approx(0.7), True)
    assert "lower --floor_audio" in found.reason
    assert len(found.levels) >= 20


def test_where_no_level_is_clean_the_highest_is_taken_and_said_so(side_of: Callable) -> None:
    side = side_of(np.ones((400, 8)))  # everything is one thing
    found = chosen(side)
    assert found.threshold == pytest.approx((side.floor + 1) / 2)  # the middle of the gap below it
    assert not found.clean
    assert len(found.levels) == 1
    assert found.reason.startswith("No audio threshold that links two videos keeps")


def test_without_edges_between_videos_the_floor_is_taken(side_of: Callable) -> None:
    rows = np.repeat(np.eye(20), SECONDS, axis=0)  # alike inside a video only
    for side in (side_of(rows), side_of(np.eye(200))):
        found = chosen(side)
        assert (found.threshold, found.levels, found.clean) == (0.5, (), True)


def test_components_that_are_too_large_stop_the_walk_though_they_look_alike(classes: Callable) -> None:
    tight = chosen(classes(), ThresholdSettings(largest=0.01))
    assert tight.threshold > chosen(classes()).threshold
    assert tight.levels[-1].largest > 0.01
    assert tight.levels[-1].pi0.value <= SETTINGS.pi0


def test_a_breach_high_up_counts_though_lower_levels_would_pass(side_of: Callable) -> None:
    side = side_of(np.random.default_rng(0).normal(size=(3000, 8)), floor=0.99)
    chain = np.arange(0, 2990, SECONDS, dtype=np.int32)  # a second of every video, chained by lies
    lies = Edges(chain, chain + SECONDS, np.full(len(chain), 0.9995, np.float32))
    found = chosen(replace(side, forest=Forest.empty(3000).merge(Edges.joined([side.forest.edges, lies]))))
    assert 0.9995 < found.threshold <= HIGHEST
    assert found.levels[-1].threshold < 0.9995
    assert found.levels[-1].pi0.value > 0.5


def test_the_last_bits_of_similarities_change_no_component_at_any_level(classes: Callable) -> None:
    side = classes()
    edges, random = side.forest.edges, np.random.default_rng(0)
    noise = random.choice([-1e-6, 1e-6], len(edges)).astype(np.float32)
    shaken = Forest.empty(3000).merge(Edges(edges.first, edges.second, edges.similarity + noise))
    found = chosen(side)
    assert len(found.levels) > 10
    for each in found.levels:
        before, after = (components(3000, [forest.cut(each.threshold)]) for forest in (side.forest, shaken))
        assert np.array_equal(before, after)
    again = chosen(replace(side, forest=shaken)).threshold
    before, after = components(3000, [side.forest.cut(found.threshold)]), components(3000, [shaken.cut(again)])
    assert np.array_equal(before, after)


def test_levels_lie_midway_between_similarities_and_as_far_from_them_as_can_be(side_of: Callable) -> None:
    side = side_of(np.eye(1000), floor=0.5)  # no edges of its own
    chain = np.arange(0, 990, SECONDS, dtype=np.int32)
    similar = np.float32(0.7) + np.float32(2**-24) * np.arange(len(chain))  # one unit in the last place apart
    similar[65:] += 5e-6  # but for this gap
    similar[80:90], similar[90:] = 0.9, 0.99995
    forest = Forest.empty(1000).merge(Edges(chain, chain + SECONDS, similar.astype(np.float32)))
    found = chosen(replace(side, forest=forest), ThresholdSettings(largest=1, pi0=0.9))
    levels = np.array([each.threshold for each in found.levels])
    assert levels[:2] == pytest.approx([(0.9 + 0.99995) / 2, (similar[79] + 0.9) / 2])
    assert levels[-2:] == pytest.approx([(0.5 + 0.7) / 2, 0.5])
    assert np.abs(levels - (similar[64] + similar[65]) / 2).min() < 1e-7
    assert found.threshold == levels[-1]


def test_one_seed_gives_one_choice(classes: Callable) -> None:
    assert chosen(classes(), seed=3) == chosen(classes(), seed=3)


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(Refusal, match="pairs"):
        ThresholdSettings(pairs=100)
