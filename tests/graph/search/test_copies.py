"""Exact copies, collapsed and expanded: as if each snippet had been searched by itself."""

from collections.abc import Callable

import numpy as np
import pytest

from graph.forests.forest import components
from graph.rows.matrix import Matrix
from graph.search.copies import Copies
from graph.search.neighbours import NOBODY, Neighbours
from graph.search.search import Search, SearchSettings

Draw = Callable[..., np.ndarray]
FLOOR = 0.4


@pytest.fixture
def copied(matrix_of: Callable[..., Matrix], quarters: Draw) -> Matrix:
    """Two hundred snippets: a group of thirty copies, some of two or three, a few zero rows."""
    random = np.random.default_rng(0)
    rows = quarters(random, 200, 12)
    rows[random.choice(200, 30, replace=False)] = rows[5]
    rows[random.choice(200, 20, replace=False)] = rows[random.choice(200, 20)]
    rows[[17, 80]] = 0
    return matrix_of(rows)


def searched(matrix: Matrix, snippets: np.ndarray, k: int) -> Neighbours:
    return Search(matrix, snippets, FLOOR, SearchSettings(k=k), "blocks").run().lists.near


def cosines(matrix: Matrix) -> np.ndarray:
    cosine = matrix.tile(np.arange(200), np.arange(200))
    np.fill_diagonal(cosine, -2)
    return cosine


def test_groups_are_the_equal_rows_and_go_by_their_first(copied: Matrix) -> None:
    copies = Copies.of(copied)
    rows = np.asarray(copied.rows)
    for snippet in range(200):
        same = np.flatnonzero((rows == rows[snippet]).all(axis=1))
        if copied.zero[snippet]:
            assert copies.group[snippet] == NOBODY
            continue
        group = copies.group[snippet]
        assert copies.members[copies.starts[group] : copies.starts[group + 1]].tolist() == same.tolist()
        assert copies.originals[group] == same[0]
    assert copies.count == 198 - len(copies.originals)
    expected = copies.originals[copies.group[~copied.zero]]
    joined = components(200, [copies.edges()])
    np.testing.assert_array_equal(joined[~copied.zero], joined[expected])
    assert joined.max() + 1 == len(copies.originals) + 2


@pytest.mark.parametrize("k", [3, 12, 60])
def test_expanded_lists_are_as_similar_as_those_of_every_snippet_searched_by_itself(copied: Matrix, k: int) -> None:
    copies = Copies.of(copied)
    lists, cosine = copies.expand(searched(copied, copies.originals, k)), cosines(copied)
    for snippet in range(200):
        above = -np.sort(-cosine[snippet][cosine[snippet] > FLOOR])[:k]
        listed = lists.indices[snippet] != NOBODY
        np.testing.assert_allclose(lists.similarities[snippet][listed], above, atol=1e-6)
        others = lists.indices[snippet][listed]
        assert len(set(others.tolist())) == len(others)
        assert snippet not in others
        np.testing.assert_allclose(cosine[snippet, others], lists.similarities[snippet][listed], atol=1e-6)


def test_a_group_larger_than_k_is_a_hub_at_one(copied: Matrix) -> None:
    copies = Copies.of(copied)
    lists = copies.expand(searched(copied, copies.originals, 20))
    large = np.bincount(copies.group[copies.group != NOBODY]) > 20
    expected = (copies.group != NOBODY) & large[copies.group]
    assert expected.sum() >= 25
    np.testing.assert_array_equal(lists.hubs(0.98), expected)


def test_collapsed_lists_name_each_group_once_and_expand_to_the_same(copied: Matrix) -> None:
    copies = Copies.of(copied)
    lists = copies.expand(searched(copied, copies.originals, 12))
    collapsed = copies.collapse(lists)
    for place, others in enumerate(collapsed.indices.tolist()):
        listed = [other for other in others if other != NOBODY]
        assert len(set(listed)) == len(listed)
        assert place not in listed
    again = copies.expand(collapsed)
    np.testing.assert_array_equal(again.similarities, lists.similarities)


def test_known_snippets_stand_first_and_speak_for_their_copies(copied: Matrix) -> None:
    known = np.arange(200) % 3 == 0
    copies = Copies.of(copied, known)
    count = int(known[copies.originals].sum())
    assert known[copies.originals[:count]].all()
    for group, original in enumerate(copies.originals):
        members = copies.members[copies.starts[group] : copies.starts[group + 1]]
        assert known[original] == known[members].any()
        assert original == (members[known[members]] if known[members].any() else members)[0]


def test_a_matrix_without_copies_expands_to_itself(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(np.random.default_rng(0).normal(size=(50, 5)))
    copies = Copies.of(matrix)
    lists = searched(matrix, copies.originals, 4)
    assert copies.count == 0
    np.testing.assert_array_equal(copies.expand(lists).indices, lists.indices)
