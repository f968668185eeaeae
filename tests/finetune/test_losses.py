"""Eq. (2) part by part, with HAN's own loss as one of its settings."""

import math

import pytest
import torch
from torch import Tensor

from finetune.cleaning.targets import Targets
from finetune.losses import LossSettings, Objective, smooth
from finetune.network.pooling import Parsed
from launch.refusal import Refusal


def example() -> tuple[Parsed, Tensor]:
    torch.manual_seed(0)
    audio, visual, video = torch.rand(3, 4, 5).clamp(0.01, 0.99).unbind(0)
    parsed = Parsed(torch.rand(2, 4, 10, 5), audio, visual, video, torch.randn(2, 4, 10, 8))
    return parsed, (torch.rand(4, 5) < 0.3).float()


def entropy(probabilities: Tensor, labels: list[list[float]]) -> float:
    terms = [
        -(y * math.log(p) + (1 - y) * math.log(1 - p))
        for ps, ys in zip(probabilities.tolist(), labels, strict=True)
        for p, y in zip(ps, ys, strict=True)
    ]
    return sum(terms) / len(terms)


def parts_by_hand(parsed: Parsed, labels: Tensor) -> tuple[float, float, float]:
    plain = labels.tolist()
    smoothed = [[0.9 * y + 0.05 for y in row] for row in plain]
    return entropy(parsed.video, plain), entropy(parsed.audio, plain), entropy(parsed.visual, smoothed)


def test_the_loss_is_eq_2_with_visual_labels_smoothed_and_audio_labels_not() -> None:
    parsed, labels = example()
    video, audio, visual = parts_by_hand(parsed, labels)
    found = Objective(LossSettings(), 8, adversarial=False)(parsed, Targets.weak(labels), 0.5)
    assert set(found) == {"loss", "video", "guided"}
    assert found["video"].item() == pytest.approx(video, rel=1e-5)
    assert found["guided"].item() == pytest.approx((audio + visual) / 2, rel=1e-5)
    assert found["loss"].item() == pytest.approx(video + 0.6 * (audio + visual) / 2, rel=1e-5)


def test_hans_own_loss_is_three_cross_entropies_of_unit_weight() -> None:
    parsed, labels = example()
    found = Objective(LossSettings(lambda_g=2.0), 8, adversarial=False)(parsed, Targets.weak(labels), 0.5)
    assert found["loss"].item() == pytest.approx(sum(parts_by_hand(parsed, labels)), rel=1e-5)


def test_the_discriminators_loss_is_added_with_its_weight_because_the_reversal_is_the_minus_sign() -> None:
    parsed, labels = example()
    found = Objective(LossSettings(lambda_ad=0.4), 8, adversarial=True)(parsed, Targets.weak(labels), 0.5)
    expected = found["video"] + 0.6 * found["guided"] + 0.4 * found["adversarial"]
    torch.testing.assert_close(found["loss"], expected)


def test_smoothing_moves_labels_towards_one_half() -> None:
    torch.testing.assert_close(smooth(torch.tensor([[0.0, 1.0]]), 0.1), torch.tensor([[0.05, 0.95]]))
    assert torch.equal(smooth(torch.tensor([[0.0, 1.0]]), 0.0), torch.tensor([[0.0, 1.0]]))


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(Refusal, match="lambda_ad"):
        LossSettings(lambda_ad=-0.4)
