"""The tiled loss is the dense definition of equations (3) to (5), and its gradient is the derivative.

Two ways of belonging together: a pair is positive iff the components are equal in either.
"""

import itertools
from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from launch.refusal import Refusal
from pretrain.loss.contrast import LossSettings, contrast
from pretrain.loss.pairs import Mode

MODES = get_args(Mode)
REDUCTIONS = ("balanced", "mean", "sum", "active")
WAYS = {
    "one way": lambda first, second: first[:, None],
    "two ways": lambda first, second: torch.stack((first, second), 1),
    "the second all different": lambda first, _: torch.stack((first, torch.arange(len(first)).flip(0)), 1),
    "the second all alike": lambda first, _: torch.stack((first, torch.zeros_like(first)), 1),
    "the first all different": lambda _, second: torch.stack((torch.arange(len(second)), second), 1),
}
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def dense(audio: Tensor, visual: Tensor, ids: Tensor, settings: LossSettings) -> Tensor:
    """The definition, with the whole pair matrix in memory: rows are the audio rows, then the visual ones."""
    rows, same = torch.cat((audio, visual)), (ids[:, None] == ids[None, :]).any(-1).repeat(2, 2)
    modality = torch.arange(2).repeat_interleave(len(ids))
    same_modality = modality[:, None] == modality[None, :]
    counted = {"uni": same_modality, "cross": ~same_modality, "multi": torch.ones_like(same_modality)}[settings.mode]
    counted = counted & ~torch.eye(len(rows), dtype=torch.bool)
    positive = same & counted
    negative = ~same & counted
    scores = rows @ rows.T
    attracted = (settings.positive_margin - scores).clamp(min=0)[positive]
    repelled = (scores - settings.negative_margin).clamp(min=0)[negative]
    sums = attracted.sum(), repelled.sum()
    if settings.reduction == "sum":
        return sums[0] + sums[1]
    if settings.reduction == "mean":
        return (sums[0] + sums[1]) / max(len(attracted) + len(repelled), 1)
    if settings.reduction == "balanced":
        return sums[0] / max(len(attracted), 1) + sums[1] / max(len(repelled), 1)
    return sums[0] / max(int((attracted > 0).sum()), 1) + sums[1] / max(int((repelled > 0).sum()), 1)


def snippets(count: int, components: int, seed: int = 0, ways: str = "one way") -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows around a common direction, so that every kind of hinge is active for some pairs only."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, count, 6, generator=generator, dtype=torch.float64) + 0.4
    ids = torch.randint(components, (2, count), generator=generator) * 7
    audio, visual = normalize(rows, dim=-1)
    return audio.requires_grad_(), visual.requires_grad_(), WAYS[ways](*ids)


@pytest.mark.parametrize(("mode", "reduction"), itertools.product(MODES, REDUCTIONS))
@pytest.mark.parametrize("tile", [1, 7, 1000])
@pytest.mark.parametrize("ways", WAYS)
def test_the_tiled_loss_and_gradient_are_those_of_the_dense_definition(
    mode: Mode, reduction: str, tile: int, ways: str
) -> None:
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


def test_a_positive_margin_below_the_negative_one_is_refused() -> None:
    with pytest.raises(Refusal, match=r"positive_margin must not lie below negative_margin, but 0.2 < 0.3"):
        LossSettings(positive_margin=0.2)


def test_equal_margins_warn_of_the_collapse_they_allow() -> None:
    with pytest.warns(UserWarning, match="almost no loss"):
        LossSettings(positive_margin=0.7, negative_margin=0.7)
