"""A batch's targets are the weak labels, and what each option makes of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.cleaning.average import Average
from finetune.cleaning.cleaner import Cleaner, Cleaning
from finetune.cleaning.exchange import Exchange, Making
from finetune.cleaning.targets import Targets
from finetune.losses import LossSettings, Objective
from finetune.network.pooling import EDGE
from launch.refusal import Refusal
from tests.finetune.cleaning.world import make_parser, world

ROWS = torch.tensor([3, 0, 7])
QUICK = Exchange(epochs=1, batch=16)


def cleaner(split: Any, seconds_by: torch.Tensor | None = None, **values: Any) -> Cleaner:
    torch.manual_seed(0)
    return Cleaner(Cleaning(**values), split, make_parser(), seconds_by)


def test_by_default_the_weak_labels_are_wanted_of_everything_and_of_no_second() -> None:
    split, _ = world(12)
    batch, targets = cleaner(split).targets(split.batch(ROWS), epoch=1)
    assert torch.equal(batch.features["sound"], split.batch(ROWS).features["sound"])
    assert torch.equal(targets.video, split.labels[ROWS])
    assert torch.equal(targets.each, split.labels[ROWS].expand(2, -1, -1))
    assert targets.seconds is None
    assert targets.positive is None


def test_estimated_labels_are_wanted_of_the_chosen_modalities_and_the_videos_stay() -> None:
    split, _ = world(60)
    made = cleaner(split, labels="exchange", modalities=("visual",), exchange=QUICK)
    assert not made.ready
    made.prepare(Making(make_parser), seed=0)
    assert made.ready
    _, targets = made.targets(split.batch(ROWS), epoch=1)
    assert torch.equal(targets.each[0], split.labels[ROWS])
    assert (targets.each[1] <= split.labels[ROWS]).all()
    assert not torch.equal(targets.each[1], split.labels[ROWS])
    assert torch.equal(targets.video, split.labels[ROWS])


def test_the_average_labels_the_seconds_of_what_is_wanted_from_its_epoch_on() -> None:
    split, _ = world(12)
    made = cleaner(split, average=0.9, seconds="average", seconds_from=3)
    assert made.targets(split.batch(ROWS), epoch=2)[1].seconds is None
    _, targets = made.targets(split.batch(ROWS), epoch=3)
    assert made.average is not None
    expected = made.average.parser(split.batch(ROWS).features).seconds * split.labels[ROWS][None, :, None]
    torch.testing.assert_close(targets.seconds, expected.detach())
    assert targets.seconds is not None
    assert not targets.seconds.requires_grad


def test_pseudo_labels_of_what_a_video_has_are_wanted_of_seconds_and_modalities_as_set() -> None:
    split, _ = world(12)
    pseudo = torch.rand(2, 12, 10, split.labels.shape[1])
    _, targets = cleaner(split, pseudo, pseudo="p", seconds="pseudo", labels="pseudo").targets(split.batch(ROWS), 1)
    assert torch.equal(targets.seconds, (pseudo * split.labels[:, None])[:, ROWS])
    assert torch.equal(targets.each, (pseudo.amax(dim=2) * split.labels)[:, ROWS])
    _, targets = cleaner(split, pseudo, pseudo="p", seconds="pseudo").targets(split.batch(ROWS), 1)
    assert torch.equal(targets.each, split.labels[ROWS].expand(2, -1, -1))


def test_mixtures_mix_features_and_every_target_with_the_same_shares() -> None:
    split, _ = world(12)
    pseudo = torch.rand(2, 12, 10, split.labels.shape[1])
    made = cleaner(split, pseudo, pseudo="p", seconds="pseudo", mixup=1.0)
    torch.manual_seed(5)
    own = split.batch(ROWS)
    batch, targets = made.targets(own, 1)
    found = [batch.features["sound"], batch.features["frames"], targets.video, *targets.each, *targets.seconds]
    known = (pseudo * split.labels[:, None])[:, ROWS]
    whole = [own.features["sound"], own.features["frames"], own.labels, own.labels, own.labels, *known]
    moved = [(mixed - each).abs().amax(dim=(*range(1, mixed.ndim),)) for mixed, each in zip(found, whole, strict=True)]
    assert all((each > 0.1).sum() >= 2 for each in moved)
    for video in range(3):  # some share of at least a half, and some partner, explain all of it
        shares = [
            (partner, share)
            for partner in range(3)
            for share in torch.linspace(0.5, 1, 4001).tolist()
            if torch.allclose(found[0][video], torch.lerp(whole[0][partner], whole[0][video], share), atol=2e-3)
        ]
        assert shares
        assert any(
            all(
                torch.allclose(mixed[video], torch.lerp(each[partner], each[video], share), atol=4e-3)
                for mixed, each in zip(found, whole, strict=True)
            )
            for partner, share in shares
        )


def test_rare_categories_weigh_more_by_the_power_of_the_balance() -> None:
    split, _ = world(400)
    share = split.labels.mean(dim=0)
    for balance in (0.5, 1.0):
        _, targets = cleaner(split, average=0.9, balance=balance).targets(split.batch(ROWS), 1)
        torch.testing.assert_close(targets.positive[1], ((1 - share) / share) ** balance)


def test_they_are_weighed_by_the_labels_that_are_wanted_wherever_these_come_from() -> None:
    split, _ = world(60)
    one, two = (cleaner(split, labels="exchange", exchange=QUICK, balance=0.5) for _ in range(2))
    one.prepare(Making(make_parser), seed=0)
    two.take({name: value.clone() for name, value in one.state().items()})
    share = one.each.mean(dim=1).clamp(1e-3, 0.5)
    assert not torch.equal(share[0], share[1])
    for made in (one, two):
        torch.testing.assert_close(made.targets(split.batch(ROWS), 1)[1].positive, ((1 - share) / share) ** 0.5)


def test_the_loss_of_seconds_is_the_weighted_cross_entropy_of_those_that_exist() -> None:
    split, _ = world(4)
    with torch.no_grad():
        parsed = make_parser().eval()(split.batch(torch.arange(4)).features)
    present = torch.arange(10) < torch.tensor([10, 4, 10, 7])[:, None]
    parsed = type(parsed)(**{**vars(parsed), "present": present})
    wanted, weight = torch.rand(2, 4, 10, 25), torch.rand(2, 25) + 1
    targets = Targets(split.labels, split.labels.expand(2, -1, -1), wanted, weight)
    parts = Objective(LossSettings(lambda_s=0.7), 16, adversarial=False)(parsed, targets, 0.5)
    total, count = 0.0, 0
    for m in range(2):
        for v in range(4):
            for s in range(10):
                if present[v, s]:
                    p, q = parsed.seconds[m, v, s].clamp(EDGE, 1 - EDGE), wanted[m, v, s]
                    total += float(-(weight[m] * q * p.log() + (1 - q) * (1 - p).log()).sum())
                    count += 25
    assert parts["seconds"].item() == pytest.approx(total / count, rel=1e-4)
    rest = parts["video"] + 0.6 * parts["guided"]
    assert parts["loss"].item() == pytest.approx((rest + 0.7 * parts["seconds"]).item(), rel=1e-5)


def test_the_average_is_the_running_mean_of_the_weights_and_warms_up() -> None:
    torch.manual_seed(0)
    parser = make_parser()
    average, expected = Average(parser, 0.9), [each.detach().clone() for each in parser.parameters()]
    for step in range(30):
        with torch.no_grad():
            for each in parser.parameters():
                each.add_(1.0)
        average.follow(parser)
        decay = min(0.9, step / (step + 10))
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, parser.parameters(), strict=True)]
    for found, wanted in zip(average.parser.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted)
        assert not found.requires_grad


def test_its_state_can_be_taken_elsewhere() -> None:
    split, _ = world(40)
    one, two = (cleaner(split, labels="exchange", exchange=QUICK, denoise=True, average=0.9) for _ in range(2))
    one.prepare(Making(make_parser), seed=0)
    one.follow(make_parser())
    two.take({name: value.clone() for name, value in one.state().items()})
    assert two.ready
    assert two.state().keys() == one.state().keys()
    assert all(torch.equal(value, two.state()[name]) for name, value in one.state().items())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"seconds": "average"}, "cleaning.average is 0"),
        ({"seconds": "pseudo"}, "cleaning.pseudo goes with"),
        ({"labels": "pseudo"}, "cleaning.pseudo goes with"),
        ({"pseudo": Path("p")}, "cleaning.pseudo goes with"),
        ({"denoise": True, "mixup": 0.5}, "mixup has none"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        Cleaning(**values)
