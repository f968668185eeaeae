import sys
from collections.abc import Callable

import numpy as np
import pytest

from graph.forests.forest import Edges
from graph.rows.matrix import Matrix
from graph.search import index
from graph.search.best import Best
from graph.search.index import Effort, Index, Kind, gpus, load_faiss
from graph.search.neighbours import NOBODY, Neighbours
from launch.refusal import Refusal

EFFORT = Effort(lists=8, probes=2, links=8, breadth=32)


def found(matrix: Matrix, kind: Kind, k: int, since: int = 0) -> Neighbours:
    snippets = np.arange(len(matrix), dtype=np.int32)
    searched, best = Index(matrix, snippets, kind, EFFORT, batch=64), Best(len(matrix), k, -1.0)
    for step in searched.steps(range(len(matrix)), since):
        searched.find(step, best, k)
    return best.lists().near


def slowly(matrix: Matrix, k: int) -> np.ndarray:
    cosine = matrix.tile(np.arange(len(matrix)), np.arange(len(matrix)))
    np.fill_diagonal(cosine, -2)
    return np.argsort(-cosine, axis=1)[:, :k]


@pytest.mark.parametrize("held", [1 << 20, 50])
def test_a_flat_index_finds_the_exact_nearest_others_whole_or_part_by_part(
    matrix_of: Callable[..., Matrix], monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(index, "HELD", held)
    matrix = matrix_of(np.random.default_rng(0).normal(size=(230, 9)))
    np.testing.assert_array_equal(found(matrix, "flat", 7).indices, slowly(matrix, 7))


def test_what_is_new_is_searched_for_everywhere_and_the_rest_only_in_what_is_new(
    matrix_of: Callable[..., Matrix],
) -> None:
    matrix = matrix_of(np.random.default_rng(0).normal(size=(200, 9)))
    lists = found(matrix, "flat", 199, since=150)
    for row, others in enumerate(lists.indices):
        known = {other for other in range(150) if row < 150}
        assert set(others.tolist()) - {NOBODY} == set(range(200)) - known - {row}


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_indexes_find_most_of_the_nearest(matrix_of: Callable[..., Matrix], kind: Kind) -> None:
    matrix = matrix_of(np.random.default_rng(0).normal(size=(400, 6)))
    lists, exact = found(matrix, kind, 5), slowly(matrix, 5)
    hits = [len(set(some.tolist()) & set(every.tolist())) for some, every in zip(lists.indices, exact, strict=True)]
    assert np.mean(hits) > 0.5 * 5
    assert not (lists.indices == np.arange(400)[:, None]).any()


def test_an_inverted_file_gives_every_pair_above_the_floor_that_it_looked_at(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(np.random.default_rng(0).normal(size=(300, 6)))
    snippets = np.arange(300, dtype=np.int32)
    everywhere = Index(matrix, snippets, "ivf", Effort(lists=8, probes=8, links=8, breadth=32), batch=64)
    best = Best(300, 2, 0.7)
    pairs = Edges.joined([everywhere.find(step, best, 2) for step in everywhere.steps(range(300))])
    cosine = matrix.tile(snippets, snippets)
    np.fill_diagonal(cosine, 0)
    found = np.zeros((300, 300), bool)
    found[pairs.first, pairs.second] = True
    assert (found != (cosine > 0.7)).sum() <= ((cosine > 0.7 - 1e-6) & (cosine < 0.7 + 1e-6)).sum()
    assert found.sum(axis=1).max() > 2


@pytest.mark.gpu
def test_a_gpu_lists_what_a_cpu_lists(matrix_of: Callable[..., Matrix], monkeypatch: pytest.MonkeyPatch) -> None:
    if not gpus():
        pytest.skip("this build of faiss sees no GPU")
    matrix = matrix_of(np.random.default_rng(0).normal(size=(3000, 128)))
    by_gpu = found(matrix, "flat", 16)
    monkeypatch.setattr(index, "gpus", lambda: 0)
    by_cpu = found(matrix, "flat", 16)
    np.testing.assert_allclose(by_gpu.similarities, by_cpu.similarities, atol=1e-5)
    assert (by_gpu.indices == by_cpu.indices).mean() > 0.999


def test_without_faiss_the_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # what Python takes for "cannot be imported"
    with pytest.raises(Refusal, match=r"\[cpu\].*\[cuda12\].*\[cuda13\]"):
        load_faiss()


def test_two_faiss_distributions_together_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "packages_distributions", lambda: {"faiss": ["faiss-gpu", "faiss-cpu"]})
    with pytest.raises(Refusal, match="faiss-cpu and faiss-gpu both are"):
        load_faiss()
