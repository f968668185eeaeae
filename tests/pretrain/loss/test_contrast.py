"""The tiled loss is the dense definition of equations (3) to (5), and its gradient is the derivative.

Two ways of belonging together: a pair is positive iff the components are equal in either.
"""

import itertools
from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from torch import Tensor

from launch.refusal import Refusal
from pretrain.loss import hinges
from pretrain.loss.contrast import LossSettings, contrast
from pretrain.loss.pairs import Mode
from tests.pretrain.loss.dense import EXACT, WAYS, dense, snippets

MODES = get_args(Mode)
REDUCTIONS = ("balanced", "mean", "sum", "active")


@pytest.mark.parametrize(("mode", "reduction"), itertools.product(MODES, REDUCTIONS))
@pytest.mark.parametrize("tile", [1, 7, 1000])
@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("few", [0, hinges.FEW], ids=["positives looked for", "positives listed"])
def test_the_tiled_loss_and_gradient_are_those_of_the_dense_definition(
    monkeypatch: pytest.MonkeyPatch, mode: Mode, reduction: str, tile: int, ways: str, few: int
) -> None:
    monkeypatch.setattr(hinges, "FEW", few)
    settings = LossSettings(mode=mode, reduction=reduction, tile=tile)  # type: ignore[arg-type]
    audio, visual, ids = snippets(count=23, components=5, ways=ways)
    tiled = contrast(audio, visual, ids, settings).loss
    found = torch.autograd.grad(3 * tiled, (audio, visual))
    loss = dense(audio, visual, ids, settings)
    expected = torch.autograd.grad(3 * loss, (audio, visual))
    torch.testing.assert_close(tiled, loss, **EXACT)
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ways", ["one way", "two ways"])
def test_the_gradient_is_the_numerical_derivative_away_from_kinks(mode: Mode, ways: str) -> None:
    audio, visual, ids = snippets(count=7, components=3, seed=2, ways=ways)
    scores = torch.cat((audio, visual)) @ torch.cat((audio, visual)).T
    assert min(float((scores - kink).detach().abs().min()) for kink in (0.9, 0.3)) > 1e-4, (
        "the derivative jumps at a margin"
    )
    settings = LossSettings(mode=mode, tile=4)
    assert torch.autograd.gradcheck(lambda a, v: contrast(a, v, ids, settings).loss, (audio, visual), eps=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ways", ["one way", "two ways"])
def test_the_order_of_videos_and_the_names_of_components_do_not_matter(mode: Mode, ways: str) -> None:
    audio, visual, ids = snippets(count=30, components=12, ways=ways)
    settings = LossSettings(mode=mode, tile=8)
    plain = contrast(audio, visual, ids, settings)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(5))
    renamed = (ids * torch.tensor([-31, 17]) + torch.tensor([1000, 5]))[:, : ids.shape[1]]
    moved = contrast(audio[order], visual[order], renamed[order], settings)
    torch.testing.assert_close(moved.loss, plain.loss, **EXACT)
    torch.testing.assert_close(
        torch.autograd.grad(moved.loss, (audio, visual)),
        torch.autograd.grad(plain.loss, (audio, visual)),
        **EXACT,
    )


@pytest.mark.parametrize(("mode", "reduction"), itertools.product(MODES, REDUCTIONS))
@pytest.mark.parametrize("count", [0, 1, 6])
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("ways", [1, 2])
def test_no_pairs_of_a_kind_cost_nothing(mode: Mode, reduction: str, count: int, alike: bool, ways: int) -> None:
    audio, visual, _ = snippets(count, components=1)
    ids = torch.zeros(count, ways, dtype=torch.int64) if alike else torch.arange(count)[:, None].repeat(1, ways)
    settings = LossSettings(mode=mode, reduction=reduction)  # type: ignore[arg-type]
    found = contrast(audio, visual, ids, settings)
    gradients = torch.autograd.grad(found.loss, (audio, visual))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    torch.testing.assert_close(found.loss, dense(audio, visual, ids, settings), **EXACT)
    if alike:
        assert (found.negatives, found.active_negatives, found.negative_cosine) == (0, 0, 0)
    elif mode == "uni":
        assert (found.positives, found.active_positives, found.positive_cosine) == (0, 0, 0)
    else:
        assert found.positives == 2 * count, "the audio and the visual snippet of a second are a positive pair"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ways", WAYS)
def test_what_is_watched_beside_the_loss_is_counted_over_all_pairs(mode: Mode, ways: str) -> None:
    audio, visual, ids = snippets(count=17, components=4, ways=ways)
    found = contrast(audio, visual, ids, LossSettings(mode=mode, tile=5))
    kinds: dict[bool, list[float]] = {True: [], False: []}

    def mean(values: Sequence[float]) -> float:
        return sum(values) / max(len(values), 1)

    rows = torch.cat((audio, visual)).detach()
    for i, j in itertools.product(range(34), repeat=2):
        within = (i < 17) == (j < 17)
        if i != j and (mode == "multi" or within == (mode == "uni")):
            kinds[bool((ids[i % 17] == ids[j % 17]).any())].append(float(rows[i] @ rows[j]))
    assert (found.positives, found.negatives) == (len(kinds[True]), len(kinds[False]))
    assert found.positive_cosine == pytest.approx(mean(kinds[True]), rel=1e-12, abs=1e-12)
    assert found.negative_cosine == pytest.approx(mean(kinds[False]), rel=1e-12, abs=1e-12)
    assert found.active_positives == pytest.approx(mean([s < 0.9 for s in kinds[True]]))
    assert found.active_negatives == pytest.approx(mean([s > 0.3 for s in kinds[False]]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "ids", [torch.arange(12)[:, None], torch.stack((torch.arange(12), torch.zeros(12, dtype=torch.int64)), 1)]
)
def test_an_embedding_that_is_not_a_number_reaches_the_loss(bad: float, ids: Tensor) -> None:
    audio, visual, _ = snippets(count=12, components=4)
    broken = visual.detach().clone()
    broken[3, 2] = bad
    loss = contrast(audio, broken, ids, LossSettings(mode="cross", tile=3)).loss
    assert not bool(loss.isfinite())


def test_an_infinite_row_reaches_the_loss_where_each_of_its_pairs_is_within_its_margin() -> None:
    rows = torch.eye(4, dtype=torch.float64)
    rows[0, 0] = torch.inf
    rows[1:, 0] = 1e-3  # the scores of row 0 are +inf, in positive pairs
    assert bool(contrast(rows, rows, torch.zeros(4, 1, dtype=torch.int64), LossSettings()).loss.isnan())


def test_without_gradients_the_loss_is_the_same() -> None:
    audio, visual, ids = snippets(count=12, components=4)
    watched = contrast(audio.detach(), visual.detach(), ids, LossSettings())
    assert not watched.loss.requires_grad
    torch.testing.assert_close(watched.loss, contrast(audio, visual, ids, LossSettings()).loss.detach(), **EXACT)


@pytest.mark.parametrize(("mode", "reduction"), itertools.product(MODES, REDUCTIONS))
def test_a_second_way_that_says_the_same_changes_nothing(mode: Mode, reduction: str) -> None:
    audio, visual, ids = snippets(count=40, components=15)
    settings = LossSettings(mode=mode, reduction=reduction, tile=7)  # type: ignore[arg-type]
    one, two = (contrast(audio, visual, each, settings) for each in (ids, ids.repeat(1, 2)))
    assert (one.positives, one.negatives) == (two.positives, two.negatives)
    assert (one.positive_cosine, one.negative_cosine) == (two.positive_cosine, two.negative_cosine)
    found, expected = (torch.autograd.grad(each.loss, (audio, visual)) for each in (two, one))
    assert torch.equal(one.loss, two.loss)
    assert all(torch.equal(each, other) for each, other in zip(found, expected, strict=True))


def test_which_way_comes_first_does_not_matter() -> None:
    audio, visual, ids = snippets(count=40, components=15, ways="two ways")
    one, two = (contrast(audio, visual, each, LossSettings(tile=7)) for each in (ids, ids.flip(1)))
    torch.testing.assert_close(one.loss, two.loss, **EXACT)
    found, expected = (torch.autograd.grad(each.loss, (audio, visual)) for each in (two, one))
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("ways", ["one way", "two ways"])
def test_rows_that_are_missing_are_in_no_pair_and_get_no_gradient(mode: Mode, reduction: str, ways: str) -> None:
    audio, visual, ids = snippets(count=23, components=5, ways=ways)
    present = torch.rand(23, 2, generator=torch.Generator().manual_seed(1)) < 0.7
    settings = LossSettings(mode=mode, reduction=reduction, tile=7)  # type: ignore[arg-type]
    found = contrast(audio, visual, ids, settings, present)
    expected = dense(audio, visual, ids, settings, present)
    torch.testing.assert_close(found.loss, expected, **EXACT)
    gradients = torch.autograd.grad(found.loss, (audio, visual))
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (audio, visual)), **EXACT)
    assert not any(bool(each[~there].any()) for each, there in zip(gradients, present.T, strict=True))
    spoilt = [
        each.detach().where(there[:, None], torch.nan) for each, there in zip((audio, visual), present.T, strict=True)
    ]
    assert torch.equal(contrast(*spoilt, ids, settings, present).loss, found.loss.detach())


def test_without_any_visual_row_the_audio_rows_are_compared_alone() -> None:
    audio, visual, ids = snippets(count=23, components=5)
    present = torch.tensor([[True, False]]).expand(23, 2)
    for mode, pairs in (("uni", 23 * 22), ("cross", 0), ("multi", 23 * 22)):
        found = contrast(audio, visual, ids, LossSettings(mode=mode), present)  # type: ignore[arg-type]
        assert found.positives + found.negatives == pairs


def test_only_the_mode_multi_alternates_and_only_if_asked_to() -> None:
    alternating = LossSettings(multi="alternate", reduction="sum")
    assert [alternating.in_epoch(epoch).mode for epoch in range(4)] == ["uni", "cross", "uni", "cross"]
    assert alternating.in_epoch(3) == LossSettings(mode="cross", multi="alternate", reduction="sum")
    for settings in (LossSettings(), LossSettings(mode="uni", multi="alternate")):
        assert all(settings.in_epoch(epoch) == settings for epoch in range(4))


def test_rows_in_half_precision_are_compared_in_float32() -> None:
    audio, visual, ids = snippets(count=23, components=5)
    halves = [each.detach().bfloat16().requires_grad_() for each in (audio, visual)]
    widened = [each.detach().float().requires_grad_() for each in halves]
    found, expected = (contrast(*rows, ids, LossSettings()).loss for rows in (halves, widened))
    assert torch.equal(found, expected)
    slopes = torch.autograd.grad(found, halves), torch.autograd.grad(expected, widened)
    assert all(torch.equal(one, other.bfloat16()) for one, other in zip(*slopes, strict=True))


def test_a_positive_margin_below_the_negative_one_is_refused() -> None:
    with pytest.raises(Refusal, match=r"positive_margin must not lie below negative_margin, but 0.2 < 0.3"):
        LossSettings(positive_margin=0.2)


def test_equal_margins_warn_of_the_collapse_they_allow() -> None:
    with pytest.warns(UserWarning, match="almost no loss"):
        LossSettings(positive_margin=0.7, negative_margin=0.7)
