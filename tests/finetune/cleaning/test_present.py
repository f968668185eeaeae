"""A modality that a video lacks is neither paired nor judged, and what its labels say holds in the other one."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from finetune.batches import Split
from finetune.cleaning import exchange
from finetune.cleaning.cleaner import Cleaner, Cleaning
from finetune.cleaning.denoise import Denoise
from finetune.cleaning.exchange import Exchange, Making, estimate, exchanged
from finetune.cleaning.targets import Targets
from finetune.network.pooling import EDGE, Parsed
from launch.refusal import Refusal
from tests.finetune.cleaning.world import make_parser, world

MUTE, DARK, EMPTY = (3, 8), (5,), 11
LACKING = {*MUTE, *DARK, EMPTY}
VIDEOS = 24


def lacking() -> Split:
    """A split of which two videos have no sound, one no picture, one neither, and one sound in its first half alone."""
    split, _ = world(VIDEOS)
    present = torch.ones(2, VIDEOS, 10, dtype=torch.bool)
    present[0, MUTE], present[1, DARK], present[:, EMPTY], present[0, 0, 5:] = False, False, False, False
    return replace(split, present=present)


def cleaner(split: Split, **options: Any) -> Cleaner:
    return Cleaner(Cleaning(**options), split, make_parser())


def test_no_such_video_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[int] = []
    real = exchange.exchanged

    def meeting(parser, own, partner):  # type: ignore[no-untyped-def]
        met.extend([*own.rows.tolist(), *partner.rows.tolist()])
        return real(parser, own, partner)

    monkeypatch.setattr(exchange, "exchanged", meeting)
    found = estimate(lacking(), Making(make_parser), Exchange(batch=4), seed=0)
    assert set(met) == set(range(VIDEOS)) - LACKING
    assert not found[:, sorted(LACKING)].any()
    assert (found[:, sorted(set(range(VIDEOS)) - LACKING)] > 0).all()


def test_an_exchanged_pair_has_the_seconds_of_those_that_its_modalities_are_of() -> None:
    split = lacking()
    own, partner = split.batch(torch.tensor([0, 1])), split.batch(torch.tensor([1, 0]))
    heard, seen = exchanged(make_parser(), own, partner)
    assert heard.present is not None
    assert seen.present is not None
    assert heard.present.sum(dim=2).tolist() == [[5, 10], [10, 10]]
    assert seen.present.sum(dim=2).tolist() == [[10, 5], [10, 10]]


def test_fewer_videos_with_both_than_folds_are_refused() -> None:
    split = lacking()
    assert split.present is not None
    split.present[0, 1:] = False
    with pytest.raises(Refusal, match="there are 1 training videos with sound and a picture for 2 folds: lower"):
        estimate(split, Making(make_parser), Exchange(), seed=0)


@pytest.mark.parametrize("modalities", [("audio", "visual"), ("visual",), ("audio",)])
def test_labels_of_the_only_modality_of_a_video_hold_in_it(modalities: tuple[str, ...]) -> None:
    split = lacking()
    made = cleaner(split, labels="exchange", exchange=Exchange(batch=4), modalities=modalities)
    made.prepare(Making(make_parser), seed=0)
    assert torch.equal(made.each[1, MUTE], split.labels[list(MUTE)])
    assert torch.equal(made.each[0, DARK], split.labels[list(DARK)])
    assert not made.each[0, MUTE].any()
    assert not made.each[1, DARK].any()
    assert not made.each[:, EMPTY].any()


def test_the_noise_of_labels_is_that_of_videos_with_both() -> None:
    split = lacking()
    rows = torch.tensor(sorted(set(range(VIDEOS)) - LACKING))
    whole = replace(
        split,
        keys=tuple(split.keys[row] for row in rows),
        features={name: values[rows] for name, values in split.features.items()},
        labels=split.labels[rows],
        present=split.present[:, rows],  # type: ignore[index]
    )
    all_of_them, those = (cleaner(each, labels="exchange", exchange=Exchange(batch=4)) for each in (split, whole))
    for each in (all_of_them, those):
        each.prepare(Making(make_parser), seed=0)
    assert torch.equal(all_of_them.noise, those.noise)
    assert torch.equal(all_of_them.each[:, rows], those.each)


def test_weights_of_positive_seconds_are_of_the_videos_that_have_the_modality() -> None:
    split = lacking()
    targets = cleaner(split, average=0.9, seconds="average", balance=1.0).targets(split.batch(torch.arange(4)), 1)[1]
    for modality, without in enumerate(((*MUTE, EMPTY), (*DARK, EMPTY))):
        share = split.labels[[row for row in range(VIDEOS) if row not in without]].mean(dim=0).clamp(1e-3, 0.5)
        assert targets.positive is not None
        torch.testing.assert_close(targets.positive[modality], (1 - share) / share)


def test_of_a_video_without_sound_a_mixture_takes_none_and_wants_none() -> None:
    split = lacking()
    assert split.present is not None
    split.features["sound"][list(MUTE)] = 7.0
    rows, made = torch.arange(VIDEOS), cleaner(split, mixup=1.0)
    torch.manual_seed(0)
    batch, targets = made.targets(split.batch(rows), 1)
    torch.manual_seed(0)
    share = torch.distributions.Beta(torch.ones(VIDEOS), torch.ones(VIDEOS)).sample()
    share, partner = torch.maximum(share, 1 - share), torch.randperm(VIDEOS)
    assert batch.present is not None
    assert torch.equal(batch.present, split.present | split.present[:, partner])
    sound = split.features["sound"].float().where(split.present[0, ..., None], 0)
    of_sound = share[:, None, None] * sound + (1 - share)[:, None, None] * sound[partner]
    torch.testing.assert_close(batch.features["sound"], of_sound)
    heard = split.labels * split.present[0].any(dim=1, keepdim=True)
    torch.testing.assert_close(targets.each[0], share[:, None] * heard + (1 - share)[:, None] * heard[partner])
    torch.testing.assert_close(
        targets.video, share[:, None] * split.labels + (1 - share)[:, None] * split.labels[partner]
    )


def test_denoising_compares_the_modalities_of_videos_with_both() -> None:
    labels = torch.ones(5, 1)
    audio = torch.tensor([0.9, 0.9, 0.9, 0.9, EDGE])[:, None]
    visual = torch.tensor([0.9, 0.1, 0.8, 0.2, 0.1])[:, None]
    parsed = Parsed(torch.rand(2, 5, 10, 1), audio, visual, audio, torch.zeros(2, 5, 10, 4))
    both, rows = torch.tensor([True, True, True, True, False]), torch.arange(5)
    denoise, alone = (
        Denoise(labels, torch.tensor([[0.0], [0.5]]), both),
        Denoise(labels[:4], torch.tensor([[0.0], [0.5]])),
    )
    fewer = Parsed(parsed.seconds[:, :4], audio[:4], visual[:4], audio[:4], parsed.joint[:, :4])
    for _ in range(2):
        found = denoise.apply(Targets.weak(labels), parsed, rows)
        expected = alone.apply(Targets.weak(labels[:4]), fewer, rows[:4])
        denoise.end_epoch()
        alone.end_epoch()
    assert torch.equal(denoise.limit, alone.limit)
    assert torch.equal(found.each[:, :4], expected.each)
    assert found.each[:, :, 0].tolist() == [[1, 1, 1, 1, 1], [1, 0, 1, 0, 1]]


def test_a_cleaner_notes_no_difference_between_modalities_of_which_there_is_one() -> None:
    split = lacking()
    made, batch = cleaner(split, denoise=True), split.batch(torch.arange(VIDEOS))
    with torch.no_grad():
        parsed = make_parser()(batch.features, batch.present)
    made.denoised(made.targets(batch, 1)[1], parsed, batch)
    noted = made.state()["denoise.excess"].abs().sum(dim=(0, 2)) > 0
    assert set(noted.nonzero()[:, 0].tolist()) == set(range(VIDEOS)) - LACKING
