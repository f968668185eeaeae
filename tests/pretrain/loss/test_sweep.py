"""A tile's few positive pairs are found without looking at every pair, and then cost what they are."""

import pytest
import torch
from torch import Tensor

from pretrain.loss import sweep as sweeping
from pretrain.loss.sweep import FEW, Rows, Weights, _few_positives, sweep

WEIGHTS = Weights(positive_margin=0.9, negative_margin=-0.2, positive=0.7, negative=0.2)


def rows(ids: Tensor, seed: int = 0) -> Rows:
    """Random float64 rows with these ids, (row, way), sorted by the first way."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(len(ids), 8, generator=draw, dtype=torch.float64)
    return Rows(torch.nn.functional.normalize(values, dim=-1), ids, torch.arange(len(ids)))


def apart(count: int, seconds: int, seed: int = 0) -> tuple[Rows, Rows]:
    """Queries and keys that share no first component, with one of some second components each."""
    draw = torch.Generator().manual_seed(seed)
    second = torch.randint(seconds, (2, count), generator=draw)
    first = torch.arange(2 * count).reshape(2, count)
    return rows(torch.stack((first[0], second[0]), 1)), rows(torch.stack((first[1], second[1]), 1), seed=1)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("seconds", [60, 20, 10_000])
def test_the_pairs_equal_in_the_second_way_are_listed_row_by_row(swapped: bool, seconds: int) -> None:
    queries, keys = apart(50, seconds)[:: -1 if swapped else 1]
    listed = _few_positives(queries, keys)
    assert listed is not None
    expected = [
        (row, column)
        for row, one in enumerate(queries.ids[:, 1].tolist())
        for column, other in enumerate(keys.ids[:, 1].tolist())
        if one == other
    ]
    assert sorted(zip(listed.row.tolist(), listed.column.tolist(), strict=True)) == expected
    if expected:
        assert listed.row.tolist() == sorted(listed.row.tolist())
        assert listed.first.tolist() == [sum(pair[0] < row for pair in expected) for row in range(50)]


def test_more_than_a_few_are_not_listed() -> None:
    queries, keys = apart(50, 50 // (FEW + 2))
    assert _few_positives(queries, keys) is None


@pytest.mark.parametrize("ways", [1, 2])
def test_where_the_first_way_may_be_equal_nothing_is_listed(ways: int) -> None:
    ids = torch.arange(40)[:, None].repeat(1, ways)
    touching = _few_positives(rows(ids[:20]), rows(ids[19:39]))
    assert touching is None
    below, above = rows(ids[:20]), rows(ids[20:])
    for queries, keys in ((below, above), (above, below)):
        listed = _few_positives(queries, keys)
        assert listed is not None
        assert len(listed.row) == 0


@pytest.mark.parametrize("gradient", [True, False])
def test_listed_pairs_add_what_they_add_when_every_pair_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, gradient: bool
) -> None:
    queries, keys = apart(64, 40)
    quick = sweep(queries, keys, WEIGHTS, same_modality=False, tile=16, gradient=gradient)
    monkeypatch.setattr(sweeping, "_few_positives", lambda *_: None)
    slow = sweep(queries, keys, WEIGHTS, same_modality=False, tile=16, gradient=gradient)
    assert float(slow.sums[2]) > 50
    torch.testing.assert_close(quick.sums, slow.sums, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(quick.gradient, slow.gradient, rtol=1e-12, atol=1e-12)
    assert bool(quick.gradient.any()) == gradient


def test_tiles_that_only_a_few_scattered_pairs_join_need_no_look_at_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys = apart(64, 40)
    monkeypatch.setattr(sweeping, "_add_both_kinds", lambda *_: pytest.fail("looked at every pair"))
    assert float(sweep(queries, keys, WEIGHTS, same_modality=False, tile=16, gradient=True).sums[2]) > 50
