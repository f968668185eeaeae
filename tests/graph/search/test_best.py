"""Lists of the k best: the same whatever the order of the pairs and the size of the buffer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.forests.forest import Edges
from graph.search.best import Best
from graph.search.neighbours import NOBODY

LEVELS = np.array([-0.5, 0.25, 0.5, 0.5, 0.75, 1.0], np.float32)


def every_pair(count: int, random: np.random.Generator) -> tuple[np.ndarray, Edges]:
    """A symmetric matrix of few distinct values, so that there are ties, and its pairs."""
    matrix = random.choice(LEVELS, (count, count))
    matrix = np.maximum(matrix, matrix.T)
    first, second = np.triu_indices(count, 1)
    order = random.permutation(len(first))
    first, second = first[order].astype(np.int32), second[order].astype(np.int32)
    return matrix, Edges(first, second, matrix[first, second])


def slowly(matrix: np.ndarray, k: int, floor: float) -> tuple[list[list[int]], list[float]]:
    lists, bars = [], []
    for row, similar in enumerate(matrix):
        others = [other for other in range(len(matrix)) if other != row and similar[other] > floor]
        others.sort(key=lambda other: (-similar[other], other))
        lists.append(others[:k])
        bars.append(float(similar[others[k - 1]]) if len(others) >= k else float(np.nextafter(np.float32(floor), 2)))
    return lists, bars


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 25),
    st.integers(1, 6),
    st.sampled_from([-1.0, 0.3, 0.5, 0.9]),
    st.integers(1, 40),
    st.integers(0, 99),
)
def test_each_row_keeps_its_k_best_and_of_equals_the_first(
    rows: int, k: int, floor: float, buffer: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    matrix, pairs = every_pair(rows, random)
    best = Best(rows, k, floor, buffer)
    for part in np.array_split(np.arange(len(pairs)), 5):
        best.add(pairs.where(part))
    lists = best.lists()
    expected, bars = slowly(matrix, k, floor)
    assert [[each for each in row if each != NOBODY] for row in lists.near.indices.tolist()] == expected
    assert lists.bar.tolist() == pytest.approx(bars)
    for row, others in enumerate(expected):
        assert lists.near.similarities[row, : len(others)].tolist() == matrix[row, others].tolist()
        assert (lists.near.similarities[row, len(others) :] == -np.inf).all()


def test_lists_that_are_taken_over_go_on_as_if_never_left() -> None:
    _, pairs = every_pair(30, np.random.default_rng(0))
    whole, begun = Best(30, 4, 0.3), Best(30, 4, 0.3)
    whole.add(pairs)
    begun.add(pairs.where(slice(0, 200)))
    resumed = Best(30, 4, 0.3)
    resumed.start_from(begun.lists())
    resumed.add(pairs.where(slice(200, None)))
    for found, expected in zip(vars(resumed.lists().near).values(), vars(whole.lists().near).values(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_no_pairs_give_empty_lists() -> None:
    lists = Best(3, 2, 0.5).lists()
    assert (lists.near.indices == NOBODY).all()
    assert (lists.bar > 0.5).all()
