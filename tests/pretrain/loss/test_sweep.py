"""A tile's way through the sweep is a matter of speed: pairs listed one by one add what they add among all pairs."""

import pytest
import torch
from torch import Tensor

from pretrain.loss import sweep as sweeping
from pretrain.loss.hinges import ACTIVE_NEGATIVES, ACTIVE_POSITIVES, Margins, Slopes
from pretrain.loss.pairs import Rows
from pretrain.loss.sweep import Side, Tally, sweep, sweep_own


def side(firsts: int, seconds: int, seed: int, apart: bool) -> Side:
    """64 random unit rows in float64 with two ids each, sorted by the first, and slopes for them."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.nn.functional.normalize(torch.randn(64, 8, generator=draw, dtype=torch.float64), dim=-1)
    first = torch.randint(firsts, (64,), generator=draw).sort()[0]
    ids = torch.stack((first, torch.randint(seconds, (64,), generator=draw)), 1)
    return Side(Rows(values, ids), Slopes.zeros(values, apart))


def swept(margin: float, ratio: float | None, seconds: int) -> list[Tensor]:
    """The sums and slopes of a modality's rows with each other and with another's."""
    sides = [side(40, seconds, seed, apart=ratio is None) for seed in (0, 1)]
    tally = Tally(Margins(0.9, margin, ratio), torch.zeros(6, dtype=torch.float64), tile=16)
    sweep_own(sides[0], tally)
    sweep(sides[0], sides[1], 2, tally)
    slopes = [each.slopes for each in sides if each.slopes is not None]
    return [tally.sums, *(part for each in slopes for part in (each.negative, each.positive))]


@pytest.mark.parametrize("ratio", [0.7, None])
@pytest.mark.parametrize("margin", [-0.2, 0.9], ids=["negatives active", "no negative active"])
def test_listed_pairs_add_what_they_add_when_every_pair_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, ratio: float | None, margin: float
) -> None:
    quick = swept(margin, ratio, seconds=40)
    monkeypatch.setattr(sweeping, "few_positives", lambda *_: None)
    slow = swept(margin, ratio, seconds=40)
    assert float(slow[0][ACTIVE_POSITIVES]) > 50
    assert bool(slow[0][ACTIVE_NEGATIVES] > 50) == (margin < 0.9)
    torch.testing.assert_close(quick, slow, rtol=1e-12, atol=1e-12)


def test_where_positives_are_few_and_negatives_within_their_margin_no_tile_is_looked_at_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("both_kinds", "add_gradient"):
        monkeypatch.setattr(sweeping, name, lambda *_: pytest.fail("looked at every pair"))
    assert float(swept(0.99, 0.7, seconds=40)[0][ACTIVE_POSITIVES]) > 50
    monkeypatch.setattr(sweeping, "few_positives", lambda *_: None)
    with pytest.raises(pytest.fail.Exception):
        swept(0.99, 0.7, seconds=40)
