"""Exchanging the sound of videos shows which embeddings know only their own snippet."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from pretrain.evaluation.leak import follows
from pretrain.model import ModelSettings, Transformer

WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}


def videos(count: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {name: torch.randn(count, 10, width, generator=draw) for name, width in WIDTHS.items()}


def encoder(attention: str) -> Transformer:
    torch.manual_seed(0)
    settings = {"layers": 2, "width": 16, "heads": 4, "attention": attention}
    return Transformer(ModelSettings.model_validate(settings), WIDTHS).eval()


def exchanged(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Two videos, each with the sound of the other."""
    return {**features, "vggish": features["vggish"].flip(0)}


def test_per_modality_an_embedding_is_bit_for_bit_that_of_its_snippet_whatever_it_is_fused_with() -> None:
    model, features = encoder("per_modality"), videos(2)
    (audio, visual), (moved, stayed) = model(features), model(exchanged(features))
    assert torch.equal(stayed, visual)
    assert torch.equal(moved, audio.flip(0))


def test_joint_attention_moves_every_embedding_with_the_video_it_is_fused_with() -> None:
    model, features = encoder("joint"), videos(2)
    (audio, visual), (moved, stayed) = model(features), model(exchanged(features))
    assert bool(((stayed - visual).abs().amax(-1) > 1e-5).all())
    assert bool(((moved - audio.flip(0)).abs().amax(-1) > 1e-5).all())


@pytest.mark.parametrize("count", [2, 5])
def test_an_encoder_without_a_leak_follows_the_snippet_alone(count: int) -> None:
    found = follows(encoder("per_modality"), videos(count), ["vggish"])
    for name in ("audio", "visual"):
        assert found[f"{name}_follows_snippet"] == pytest.approx(1, abs=1e-6)
        assert found[f"{name}_follows_video"] == pytest.approx(found[f"{name}_between_videos"], abs=1e-6)
        assert found[f"{name}_between_videos"] < 0.9


def test_an_encoder_that_copies_the_other_modality_follows_the_video_alone() -> None:
    """Audio embeddings that are the picture's feature, and visual ones that are the sound's."""
    found = follows(lambda features: (features["resnet152"], features["vggish"]), videos(5), ["vggish"])
    for name in ("audio", "visual"):
        assert found[f"{name}_follows_video"] == pytest.approx(1)
        assert found[f"{name}_follows_snippet"] == pytest.approx(found[f"{name}_between_videos"])
        assert abs(found[f"{name}_between_videos"]) < 0.5


def test_joint_attention_is_told_from_an_encoder_without_a_leak() -> None:
    found = follows(encoder("joint"), videos(5), ["vggish"])
    for name in ("audio", "visual"):
        assert found[f"{name}_follows_snippet"] < 1 - 1e-6


def test_a_single_video_has_no_other_to_follow() -> None:
    assert follows(encoder("joint"), videos(1), ["vggish"]) == {}
