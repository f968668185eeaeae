"""The block engine: each pair once, and what it skips is below the floor."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.forests.forest import Edges
from graph.rows.matrix import Matrix
from graph.search import blocks
from graph.search.blocks import Comparison, tasks, threads


def compared(matrix: Matrix, floor: float, screened: bool, bar: float | None = None) -> Edges:
    count = len(matrix)
    bars = np.full(count, np.nextafter(np.float32(floor), np.float32(2)) if bar is None else bar, np.float32)
    comparison = Comparison(matrix, np.arange(count, dtype=np.int32), floor, screened)
    return Edges.joined(list(comparison.run(list(tasks(count)), bars, processors=2)))


def as_set(edges: Edges) -> set[tuple[int, int]]:
    pairs = list(zip(edges.first.tolist(), edges.second.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert (edges.first < edges.second).all()
    return set(pairs)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 12), st.integers(1, 4), st.data())
def test_tasks_compare_each_pair_with_a_new_end_once(count: int, width: int, group: int, data: st.DataObject) -> None:
    since = data.draw(st.integers(0, count))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "WIDTH", width)
        patch.setattr(blocks, "GROUP", group)
        seen = np.zeros((count, count), int)
        for task in tasks(count, since):
            for start in range(task.rows.start, task.rows.stop, width):
                if start <= task.columns.start:
                    rows = slice(start, min(start + width, task.rows.stop))
                    seen[rows, task.columns.start : task.columns.stop] += 1
    upper = np.triu(np.ones((count, count), bool), 1)
    new = upper & (np.arange(count) >= since)
    assert (seen[new] == 1).all()
    assert (seen[upper] <= 1).all()


@pytest.mark.parametrize("screened", [True, False])
@pytest.mark.parametrize("floor", [-0.5, 0.0, 0.3, 0.8])
def test_what_comes_out_are_the_pairs_above_the_floor(
    matrix_of: Callable[..., Matrix], monkeypatch: pytest.MonkeyPatch, screened: bool, floor: float
) -> None:
    monkeypatch.setattr(blocks, "WIDTH", 64)
    monkeypatch.setattr(blocks, "GROUP", 2)
    random = np.random.default_rng(0)
    matrix = matrix_of(
        random.normal(size=(40, 1, 24)).repeat(10, axis=1).reshape(400, 24) + 0.3 * random.normal(size=(400, 24))
    )
    cosine = matrix.tile(np.arange(400), np.arange(400))
    clear = np.triu(np.abs(cosine - floor) > 1e-6, 1)
    edges = compared(matrix, floor, screened)
    found = np.zeros((400, 400), bool)
    found[edges.first, edges.second] = True
    assert len(as_set(edges)) == found.sum()
    np.testing.assert_array_equal(found[clear], (cosine > floor)[clear])
    np.testing.assert_allclose(edges.similarity, cosine[edges.first, edges.second], atol=1e-6)


@pytest.mark.parametrize("width", [3, 128, 512])
@pytest.mark.parametrize("kind", ["dense", "spikes", "all equal"])
def test_the_screen_loses_no_pair_however_the_rows_round(
    matrix_of: Callable[..., Matrix], width: int, kind: str
) -> None:
    """Rows built so that their cosines crowd around the floor, where a coarse product is most likely to be wrong."""
    random, floor = np.random.default_rng(1), 0.8
    base = random.normal(size=width) if kind != "spikes" else np.eye(width)[0] + 0.01 * random.random(width)
    base = np.ones(width) * 1.00390625 if kind == "all equal" else base  # halfway between two bfloat16 numbers
    base /= np.linalg.norm(base)
    other = random.normal(size=(1500, width))
    other -= (other @ base)[:, None] * base
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    cosine = floor**0.5 + random.normal(size=(1500, 1)) * 0.002
    matrix = matrix_of(cosine * base + (1 - cosine**2) ** 0.5 * other)
    assert as_set(compared(matrix, floor, screened=False)) <= as_set(compared(matrix, floor - 1e-6, screened=True))
    assert as_set(compared(matrix, floor, screened=True)) <= as_set(compared(matrix, floor - 1e-6, screened=False))


def test_pairs_below_both_ends_bars_do_not_come(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(np.random.default_rng(0).normal(size=(100, 4)))
    assert compared(matrix, 0.2, False, bar=0.7).similarity.min() >= 0.7


def test_threads_give_torch_its_own_number_back() -> None:
    before = torch.get_num_threads()
    with threads(2) as pool:
        assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
    assert torch.get_num_threads() == before
