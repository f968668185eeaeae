from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.corpus import HubSettings, build_corpus
from graph.forests.forest import Edges, Forest, components
from graph.forests.saturated import join
from graph.modality import Modality
from graph.ranks import Ranks
from graph.rows.matrix import Matrix
from graph.search.blocks import compared
from graph.search.neighbours import Neighbours
from graph.search.search import SearchSettings


def exact_lists(similarity: np.ndarray, k: int, random: np.random.Generator) -> Neighbours:
    """Exact lists that break ties at random, as any engine may."""
    similarity = similarity.copy()
    np.fill_diagonal(similarity, -np.inf)
    order = np.lexsort((random.random(similarity.shape), -similarity), axis=1)[:, :k]
    return Neighbours(order.astype(np.int32), np.take_along_axis(similarity, order, axis=1))


def among(similarity: np.ndarray, chosen: np.ndarray, floor: float, tile: int) -> Iterator[Edges]:
    """All pairs above the floor among some snippets, a tile at a time."""
    for start in range(0, len(chosen), tile):
        rows = chosen[start : start + tile]
        row, column = np.nonzero((similarity[np.ix_(rows, chosen)] > np.float32(floor)) & (rows[:, None] < chosen))
        yield Edges(rows[row], chosen[column], similarity[rows[row], chosen[column]])


def forest_of(similarity: np.ndarray, lists: Neighbours, floor: float, tile: int, buffer: int) -> Forest:
    without = np.zeros(len(similarity), bool)
    listed = Forest.grown(len(similarity), lists.edges(floor, without, block=7))
    chosen = np.flatnonzero(lists.weakest > np.float32(floor))
    return join(listed, among(similarity, chosen, floor, tile), floor, buffer)


def built(matrix: Matrix, k: int, floor: float, hubs: HubSettings | None = None) -> Modality:
    return build_corpus("audio", matrix, floor, SearchSettings(k=k), hubs or HubSettings(exclude=False))


def agree_everywhere(brute: Callable, similarity: np.ndarray, forest: Forest, floor: float) -> None:
    values = np.unique(similarity)
    for threshold in [floor, *values[(values >= floor) & (values < 0.9999)].tolist()]:
        adjacent = similarity > np.float32(threshold)
        np.testing.assert_array_equal(components(len(similarity), [forest.cut(threshold)]), brute(adjacent))


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 6), st.sampled_from([0.0, 0.3, 0.5, 0.8]))
@settings(deadline=None, max_examples=200)
def test_listed_edges_and_saturated_joins_give_every_threshold_from_the_floor_up(
    brute: Callable, seed: int, count: int, k: int, floor: float
) -> None:
    random = np.random.default_rng(seed)
    levels = random.choice(np.linspace(-1, 1, 21, dtype=np.float32), random.integers(1, 9))
    similarity = random.choice(levels, (count, count)).astype(np.float32)
    similarity = np.maximum(np.triu(similarity, 1), np.triu(similarity, 1).T)
    lists = exact_lists(similarity, min(k, count - 1), random)
    forest = forest_of(similarity, lists, floor, tile=int(random.integers(1, 12)), buffer=int(random.integers(0, 30)))
    agree_everywhere(brute, similarity, forest, floor)


def test_lists_alone_lose_a_bridge_between_two_crowds_and_the_join_finds_it(brute: Callable) -> None:
    crowd, k = 20, 4
    similarity = np.full((2 * crowd, 2 * crowd), 0.1, np.float32)
    similarity[:crowd, :crowd] = similarity[crowd:, crowd:] = 0.95
    similarity[3, crowd + 3] = similarity[crowd + 3, 3] = 0.9
    lists = exact_lists(similarity, k, np.random.default_rng(0))
    listed = Forest.grown(2 * crowd, lists.edges(0.5, np.zeros(2 * crowd, bool)))
    assert len(np.unique(components(2 * crowd, [listed.cut(0.8)]))) > 1
    forest = forest_of(similarity, lists, 0.5, tile=16, buffer=100)
    assert components(2 * crowd, [forest.cut(0.8)]).max() == 0
    agree_everywhere(brute, similarity, forest, 0.5)


def test_thousands_of_duplicates_are_one_component_and_the_rest_is_untouched(matrix_of: Callable[..., Matrix]) -> None:
    random = np.random.default_rng(3)
    rows = random.normal(size=(4000, 16))
    rows[:3000] = np.repeat(rows[:3], 1000, axis=0)
    matrix = matrix_of(rows[random.permutation(4000)])
    side = built(matrix, 8, 0.8)
    sizes = np.bincount(components(4000, [side.forest.cut(0.9998)]))
    assert sorted(sizes[sizes > 1].tolist()) == [1000, 1000, 1000]
    assert side.copies == 2997


def test_a_chain_longer_than_any_list_holds_until_its_weakest_link(brute: Callable) -> None:
    count = 60
    place = np.arange(count, dtype=np.float32)
    similarity = np.maximum(1 - 0.01 * np.abs(place[:, None] - place), 0).astype(np.float32)
    similarity[30:, :30] -= 0.005
    similarity[:30, 30:] -= 0.005
    forest = forest_of(similarity, exact_lists(similarity, 2, np.random.default_rng(1)), 0.9, tile=8, buffer=5)
    agree_everywhere(brute, similarity, forest, 0.9)


@pytest.mark.parametrize("seed", range(4))
def test_ties_exactly_at_the_threshold_fall_below_it_in_real_cosines(
    brute: Callable, matrix_of: Callable[..., Matrix], quarters: Callable[..., np.ndarray], seed: int
) -> None:
    rows = quarters(np.random.default_rng(seed), 120, width=11)
    matrix = matrix_of(rows)
    side = built(matrix, 3, 0.25)
    for threshold in (0.25, 0.5, 0.75):
        expected = brute((rows @ rows.T) / 4 > threshold)
        np.testing.assert_array_equal(components(120, [side.forest.cut(threshold)]), expected)


def test_hubs_get_no_edges_and_the_graph_without_them_is_exact(
    brute: Callable, matrix_of: Callable[..., Matrix], quarters: Callable[..., np.ndarray]
) -> None:
    rows = quarters(np.random.default_rng(5), 200, width=12)
    rows[rng_choice(200, 40)] = rows[0]
    matrix = matrix_of(rows)
    side = built(matrix, 10, 0.25, HubSettings(similarity=0.98))
    cosine = (rows @ rows.T) / 4
    hubs = (cosine >= 0.98).sum(axis=1) > 10
    assert hubs.sum() >= 40
    np.testing.assert_array_equal(side.hubs, hubs)
    for threshold in (0.25, 0.5, 0.75):
        adjacent = (cosine > threshold) & ~hubs & ~hubs[:, None]
        np.testing.assert_array_equal(components(200, [side.forest.cut(threshold)]), brute(adjacent))


def rng_choice(count: int, chosen: int) -> np.ndarray:
    return np.random.default_rng(9).choice(count, chosen, replace=False)


def test_all_snippets_compared_and_joined_to_nothing_are_the_exhaustive_graph(
    brute: Callable, matrix_of: Callable[..., Matrix]
) -> None:
    matrix = matrix_of(np.random.default_rng(2).normal(size=(150, 6)))
    every = np.arange(150, dtype=np.int32)
    similarity = matrix.tile(every, every)
    shares = [compared(matrix, every, 0.5, Ranks(rank, 2), "test") for rank in range(2)]
    forest = join(Forest.empty(150), chain.from_iterable(shares), 0.5, buffer=400)
    levels = np.linspace(0.5, 0.99, 20)
    levels = levels[np.abs(similarity - levels[:, None, None]).min(axis=(1, 2)) > 1e-5]
    for level in levels.tolist():
        np.testing.assert_array_equal(components(150, [forest.cut(level)]), brute(similarity > level))
