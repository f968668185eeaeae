import sys
from collections.abc import Callable

import numpy as np
import pytest

from graph.rows.matrix import Matrix
from graph.search import neighbours
from graph.search.neighbours import load_faiss, nearest
from launch.refusal import Refusal


def test_lists_are_the_exact_nearest_others_by_falling_similarity(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(np.random.default_rng(0).normal(size=(230, 9)))
    found = nearest(matrix, 7, batch=64)
    cosine = matrix.tile(np.arange(230), np.arange(230))
    np.fill_diagonal(cosine, -2)
    np.testing.assert_array_equal(found.indices, np.argsort(-cosine, axis=1)[:, :7])
    np.testing.assert_allclose(found.similarities, -np.sort(-cosine, axis=1)[:, :7], atol=1e-6)
    assert found.k == 7


def test_a_snippet_repeated_more_than_k_times_is_never_its_own_neighbour(matrix_of: Callable[..., Matrix]) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 6))
    rows[:40] = rows[0]
    found = nearest(matrix_of(rows), 5)
    assert not (found.indices == np.arange(100)[:, None]).any()
    np.testing.assert_allclose(found.weakest[:40], 1, atol=1e-6)
    np.testing.assert_array_equal(found.hubs(0.98), np.arange(100) < 40)


def test_listed_edges_leave_out_what_is_at_the_floor_or_excluded(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(np.random.default_rng(0).gamma(1, size=(100, 6)))
    found, without = nearest(matrix, 8), np.arange(100) % 3 == 0
    for block in (7, 1000):
        edges = list(found.edges(0.8, without, block))
        ends = np.concatenate([np.concatenate([part.first, part.second]) for part in edges])
        assert not without[ends].any()
        assert sum(map(len, edges)) == int(
            ((found.similarities > 0.8) & ~without[found.indices] & ~without[:, None]).sum()
        )


def test_as_many_neighbours_as_snippets_are_refused(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(np.random.default_rng(0).normal(size=(20, 4)))
    assert nearest(matrix, 19).k == 19
    with pytest.raises(Refusal, match=r"k is 20 and the shards hold 20 snippets: give --k a value below 20"):
        nearest(matrix, 20)


def test_without_faiss_the_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # what Python takes for "cannot be imported"
    with pytest.raises(Refusal, match=r"\[cpu\].*\[cuda12\].*\[cuda13\]"):
        load_faiss()


def test_two_faiss_distributions_together_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "packages_distributions", lambda: {"faiss": ["faiss-gpu", "faiss-cpu"]})
    with pytest.raises(Refusal, match="faiss-cpu and faiss-gpu both are"):
        load_faiss()
