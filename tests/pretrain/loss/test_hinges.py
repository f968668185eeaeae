"""A tile's few positive pairs are found without looking at every pair."""

import pytest
import torch
from torch import Tensor

from pretrain.loss.hinges import FEW, Listed, few_positives


def ids(count: int, firsts: int, seconds: int, seed: int = 0) -> Tensor:
    """Random ids, (row, way), sorted by the first way."""
    draw = torch.Generator().manual_seed(seed)
    first = torch.randint(firsts, (count,), generator=draw).sort()[0]
    return torch.stack((first, torch.randint(seconds, (count,), generator=draw)), 1)


def expected(left: Tensor, right: Tensor, less_itself: bool) -> list[tuple[int, int]]:
    return [
        (row, column)
        for row, one in enumerate(left.tolist())
        for column, other in enumerate(right.tolist())
        if any(a == b for a, b in zip(one, other, strict=True)) and not (less_itself and row == column)
    ]


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize(("firsts", "seconds"), [(30, 30), (10_000, 20), (20, 10_000), (10_000, 10_000)])
def test_exactly_the_pairs_equal_in_any_way_are_listed_each_once(ways: int, firsts: int, seconds: int) -> None:
    left, right = ids(50, firsts, seconds)[:, :ways], ids(60, firsts, seconds, seed=1)[:, :ways]
    found = few_positives(left, right, None)
    assert found is not None
    assert sorted(zip(found.row.tolist(), found.column.tolist(), strict=True)) == expected(left, right, False)


@pytest.mark.parametrize("ways", [1, 2])
def test_a_row_is_not_listed_with_itself(ways: int) -> None:
    rows, each = ids(50, 20, 20)[:, :ways], torch.arange(50)
    found = few_positives(rows, rows, Listed(each, each))
    assert found is not None
    pairs = list(zip(found.row.tolist(), found.column.tolist(), strict=True))
    assert sorted(pairs) == expected(rows, rows, True)
    assert len(pairs) > 50


@pytest.mark.parametrize("way", [0, 1])
def test_more_than_a_few_are_not_listed(way: int) -> None:
    crowded = [10_000, 10_000]
    crowded[way] = 200 // (FEW + 2)
    assert few_positives(ids(200, *crowded), ids(200, *crowded, seed=1), None) is None
