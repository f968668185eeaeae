"""How likely a label holds in a modality follows from the labels of the videos that look alike."""

import numpy as np
import pytest
import torch

from finetune.cleaning.posterior import noise_ratios, posterior


def mixture(videos: int = 40_000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One category: seen in 20%, labelled where seen and in 25% of the rest; what a parser says, labels, truth."""
    dice = np.random.default_rng(0)
    seen = dice.random(videos) < 0.2
    labels = seen | (dice.random(videos) < 0.25)
    score = dice.normal(seen * 3.0)
    probability = 1 / (1 + np.exp(-score))
    column = torch.from_numpy(probability).float()[None, :, None]
    return column, torch.from_numpy(labels).float()[:, None], torch.from_numpy(seen)


def test_it_is_what_bayes_rule_gives_for_a_mixture_whose_parts_are_known() -> None:
    probability, labels, _ = mixture()
    found = posterior(probability, labels, unlikely=0.5)[0, :, 0].double()
    score = torch.logit(probability[0, :, 0].double())
    density = [torch.exp(-((score - mean) ** 2) / 2) for mean in (3.0, 0.0)]
    exact = 0.2 * density[0] / (0.2 * density[0] + 0.8 * 0.25 * density[1])
    labelled = labels[:, 0] > 0
    assert (found - exact)[labelled].abs().mean() < 0.03


def test_the_noise_ratio_is_the_share_of_labels_that_do_not_hold() -> None:
    probability, labels, seen = mixture()
    ratio = noise_ratios(posterior(probability, labels, 0.5), labels)[0, 0].item()
    assert ratio == pytest.approx(1 - seen.sum().item() / labels.sum().item(), abs=0.03)


def test_only_the_order_of_probabilities_matters_and_equal_ones_are_treated_alike() -> None:
    probability, labels, _ = mixture(2000)
    rounded = (probability * 20).round() / 20
    found = posterior(rounded, labels, 0.5)
    assert torch.equal(found, posterior(rounded**3, labels, 0.5))
    assert torch.equal(posterior(rounded.flip(1), labels.flip(0), 0.5), found.flip(1))
    for value in rounded.unique():
        alike = (rounded[0, :, 0] == value) & (labels[:, 0] > 0)
        assert len(found[0, alike, 0].unique()) <= 1


def test_videos_without_the_label_have_none_of_it() -> None:
    probability, labels, _ = mixture(2000)
    found = posterior(probability, labels, 0.5)
    assert (found[0][labels == 0] == 0).all()
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_category_that_none_or_every_video_has_keeps_its_labels(value: float) -> None:
    labels = torch.full((30, 1), value)
    likely = posterior(torch.rand(2, 30, 1), labels, 0.9)
    assert torch.equal(likely, labels.expand(2, 30, 1))
    assert torch.equal(noise_ratios(likely, labels), torch.zeros(2, 1))
