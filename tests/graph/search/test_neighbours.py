from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graph.rows.matrix import Matrix
from graph.search.neighbours import NOBODY, Neighbours
from graph.search.search import Search, SearchSettings, check_k
from launch.refusal import Refusal


def lists_of(matrix: Matrix, k: int, floor: float) -> Neighbours:
    return Search(matrix, np.arange(len(matrix), dtype=np.int32), floor, SearchSettings(k=k), "blocks").run().lists.near


def test_listed_edges_leave_out_what_is_at_the_floor_or_excluded(matrix_of: Callable[..., Matrix]) -> None:
    found, without = (
        lists_of(matrix_of(np.random.default_rng(0).gamma(0.4, size=(100, 6))), 8, 0.9),
        np.arange(100) % 3 == 0,
    )
    assert (found.indices == NOBODY).any()
    for block in (7, 1000):
        edges = list(found.edges(0.93, without, block))
        ends = np.concatenate([np.concatenate([part.first, part.second]) for part in edges])
        assert not without[ends].any()
        expected = (found.similarities > 0.93) & ~without[found.indices] & ~without[:, None]
        assert sum(map(len, edges)) == int(expected.sum())


def test_a_file_gives_back_the_lists(tmp_path: Path, matrix_of: Callable[..., Matrix]) -> None:
    found = lists_of(matrix_of(np.random.default_rng(0).normal(size=(60, 6))), 4, 0.3)
    found.save(tmp_path / "lists.safetensors", "abc")
    loaded = Neighbours.load(tmp_path / "lists.safetensors")
    np.testing.assert_array_equal(loaded.indices, found.indices)
    np.testing.assert_array_equal(loaded.similarities, found.similarities)


@pytest.mark.parametrize(
    ("row", "indices", "similarities"),
    [(0, [7, 1], [0.9, 0.8]), (0, [1, 2], [0.8, 0.9]), (0, [-2, 1], [0.9, 0.8]), (0, [1, NOBODY], [0.9, 0.8])],
    ids=["unknown snippet", "rising", "negative", "a similarity to nobody"],
)
def test_a_file_of_other_lists_is_refused(
    tmp_path: Path, row: int, indices: list[int], similarities: list[float]
) -> None:
    lists = Neighbours(np.full((4, 2), NOBODY, np.int32), np.full((4, 2), -np.inf, np.float32))
    lists.indices[row], lists.similarities[row] = indices, similarities
    lists.save(tmp_path / "lists.safetensors", "abc")
    with pytest.raises(Refusal, match="known snippets by falling similarity"):
        Neighbours.load(tmp_path / "lists.safetensors")


def test_a_file_that_holds_no_lists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lists.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(Refusal, match="must be a safetensors file"):
        Neighbours.load(tmp_path / "lists.safetensors")


def test_as_many_neighbours_as_snippets_are_refused() -> None:
    check_k(20, 19)
    with pytest.raises(Refusal, match=r"k is 20 and the shards hold 20 snippets: give --search.k a value below 20"):
        check_k(20, 20)
