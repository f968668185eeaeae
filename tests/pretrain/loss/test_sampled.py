"""Some snippets drawn at random, the same on any ranks, against all: the dense definition with those rows alone."""

import itertools
from typing import get_args

import pytest
import torch

from pretrain.loss.contrast import LossSettings, contrast
from pretrain.loss.exchange import introduce
from pretrain.loss.pairs import Mode
from pretrain.loss.sampled import draw
from tests.pretrain.loss.dense import EXACT, dense, snippets

MODES = get_args(Mode)
REDUCTIONS = ("balanced", "mean", "sum", "active")


@pytest.mark.parametrize(("mode", "reduction"), itertools.product(MODES, REDUCTIONS))
@pytest.mark.parametrize(("anchors", "tile"), [(1, 1000), (4, 7), (23, 1), (99, 5)])
@pytest.mark.parametrize("ways", ["one way", "two ways"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_loss_gradient_and_counts_are_those_of_the_pairs_that_begin_at_a_drawn_snippet(
    mode: Mode, reduction: str, anchors: int, tile: int, ways: str, missing: float
) -> None:
    audio, visual, ids = snippets(count=23, components=5, ways=ways)
    present = torch.rand(23, 2, generator=torch.Generator().manual_seed(1)) >= missing
    told = {"mode": mode, "reduction": reduction, "tile": tile, "pairs": "sampled", "anchors": anchors}
    settings = LossSettings.model_validate(told)
    found = contrast(audio, visual, ids, settings, present, drawn_from=(3, 7))
    drawn = draw(introduce(ids, present), anchors, 3, 7)
    expected = dense(audio, visual, ids, settings, present, drawn)
    torch.testing.assert_close(found.loss, expected, **EXACT)
    slopes = (torch.autograd.grad(each, (audio, visual), allow_unused=True) for each in (found.loss, expected))
    torch.testing.assert_close(*slopes, **EXACT)
    if anchors >= 23:
        whole = contrast(audio, visual, ids, settings.model_copy(update={"pairs": "all"}), present)
        torch.testing.assert_close(found.loss, whole.loss, **EXACT)
        for name in ("positives", "negatives", "positive_cosine", "negative_cosine", "active_positives"):
            assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-12)


def test_what_is_drawn_follows_from_the_seed_and_the_step() -> None:
    known = introduce(torch.arange(1000)[:, None])
    drawn = {(seed, step): tuple(draw(known, 3, seed, step).tolist()) for seed in range(3) for step in range(3)}
    assert len(set(drawn.values())) == 9
    assert all(tuple(draw(known, 3, *moment).tolist()) == found for moment, found in drawn.items())
    assert all(len(set(found)) == 3 for found in drawn.values())


def test_over_the_steps_every_snippet_is_drawn() -> None:
    known = introduce(torch.arange(10)[:, None])
    assert {int(draw(known, 1, 0, step)) for step in range(200)} == set(range(10))


def test_snippets_without_a_row_are_not_drawn_and_the_others_as_if_those_were_not_there() -> None:
    present = torch.rand(40, 2, generator=torch.Generator().manual_seed(1)) >= 0.6
    there = present.any(1).nonzero()[:, 0]
    assert 0 < len(there) < 40
    ids = torch.arange(40)[:, None]
    for step in range(20):
        drawn, among = draw(introduce(ids, present), 3, 0, step), draw(introduce(ids[there]), 3, 0, step)
        assert torch.equal(drawn, there[among])


@pytest.mark.parametrize("mode", MODES)
def test_without_snippets_nothing_is_drawn_and_the_loss_is_0(mode: Mode) -> None:
    audio, visual, ids = snippets(count=0, components=1)
    found = contrast(audio, visual, ids, LossSettings(mode=mode, pairs="sampled"), drawn_from=(0, 0))
    assert (found.loss.item(), found.positives, found.negatives) == (0, 0, 0)


def test_a_drawn_row_that_is_not_a_number_reaches_the_loss() -> None:
    audio, visual, ids = snippets(count=12, components=4)
    broken = visual.detach().clone()
    broken[3, 2] = torch.nan
    for step in range(5):
        settings = LossSettings(mode="cross", pairs="sampled")
        assert bool(contrast(audio, broken, ids, settings, drawn_from=(0, step)).loss.isnan())
