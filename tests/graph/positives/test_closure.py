from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from graph.forests.forest import components
from graph.modality import Modality
from graph.positives.chance import Chance
from graph.positives.closure import Way, ways
from launch.refusal import Refusal


@pytest.fixture(scope="session")
def pair(side_of: Callable) -> list[Modality]:
    """Two modalities of 60 snippets in few directions, much alike; ten are barred from one, five from the other."""
    random = np.random.default_rng(5)
    rows = random.normal(size=(60, 4))
    other = np.concatenate([rows + 0.4 * random.normal(size=(60, 4)), 0.4 * random.normal(size=(60, 1))], axis=1)
    audio = side_of(rows, 0.85, k=6, without=np.arange(60) < 10)
    return [audio, side_of(other, 0.85, k=6, without=np.arange(60) % 12 == 3, name="visual")]


def similar(side: Modality) -> np.ndarray:
    everyone = np.arange(60)
    allowed = ~side.without
    return (
        (side.matrix.tile(everyone, everyone) > side.threshold) & allowed & allowed[:, None] & ~np.eye(60, dtype=bool)
    )


def built(sides: list[Modality], match: str, closure: str) -> list[Way]:
    return ways(sides, [Chance.drawn(side, 20_000, 0) for side in sides], match, closure)


@pytest.mark.parametrize("match", ["any", "all"])
def test_joint_components_are_those_of_every_pair_compared(pair: list[Modality], match: str, brute: Callable) -> None:
    (way,) = built(pair, match, "joint")
    meet = np.logical_or if match == "any" else np.logical_and
    assert np.array_equal(components(60, [way.cut]), brute(meet(similar(pair[0]), similar(pair[1]))))


def test_per_modality_gives_each_its_own_components(pair: list[Modality], brute: Callable) -> None:
    found = built(pair, "any", "per_modality")
    assert [way.name for way in found] == ["audio", "visual"]
    for way, side in zip(found, pair, strict=True):
        assert np.array_equal(components(60, [way.cut]), brute(similar(side)))
        first, second = np.triu_indices(60, 1)
        below = side.matrix.pairs(first, second) < Chance.drawn(side, 20_000, 0).median
        assert np.array_equal(way.unlike(first, second), below)


@pytest.mark.parametrize("match", ["any", "all"])
def test_layers_hold_only_edges_above_the_thresholds_and_join_what_the_forest_joins(
    pair: list[Modality], match: str
) -> None:
    (way,) = built(pair, match, "joint")
    layers = way.layers()
    assert len(layers) == (2 if match == "any" else 1)
    assert np.array_equal(components(60, layers), components(60, [way.cut]))
    both = similar(pair[0]) & similar(pair[1])
    for layer, side in zip(layers, pair, strict=False):
        allowed = similar(side) if match == "any" else both
        assert allowed[layer.first, layer.second].all()
    listed = sum(int((side.neighbours.similarities > side.threshold).sum()) for side in pair)
    assert match == "all" or sum(map(len, layers)) > 0.5 * listed


def test_pairs_similar_in_both_weigh_their_smaller_margin(pair: list[Modality]) -> None:
    (way,) = built(pair, "all", "joint")
    (layer,) = way.layers()
    margins = [side.matrix.pairs(layer.first, layer.second) - side.threshold for side in pair]
    assert len(layer) > 20
    assert layer.similarity == pytest.approx(np.minimum(*margins), abs=1e-5)


def test_without_neighbour_lists_the_forest_is_all_there_is(pair: list[Modality]) -> None:
    bare = [replace(side, neighbours=None) for side in pair]
    (way,) = built(bare, "any", "joint")
    for layer, side in zip(way.layers(), bare, strict=True):
        assert len(layer) == len(side.forest.cut(side.threshold))


def test_a_modality_without_any_edge_is_no_fault_where_the_other_has_some(pair: list[Modality]) -> None:
    deaf = [replace(pair[0], threshold=0.99995), pair[1]]
    audio, visual = built(deaf, "any", "per_modality")
    assert len(audio.cut) == 0 < len(visual.cut)


def test_both_at_once_and_each_by_itself_contradict_each_other(pair: list[Modality]) -> None:
    with pytest.raises(Refusal, match=r"set match to 'any', or closure to 'joint'"):
        built(pair, "all", "per_modality")
