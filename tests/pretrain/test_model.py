"""The encoder sees what its attention setting says, and its file brings the same encoder back."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from launch.refusal import Refusal
from pretrain.model import ModelSettings, Transformer, load_encoder, read_provenance, save_encoder

WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}
TINY = ModelSettings(layers=2, width=16, heads=4)


def videos(count: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(count, 10, width, generator=generator).half() for name, width in WIDTHS.items()}


def encoder(settings: ModelSettings) -> Transformer:
    torch.manual_seed(0)
    return Transformer(settings, WIDTHS).eval()


def with_other(features: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {**features, name: videos(len(features[name]), seed=9)[name]}


@pytest.mark.parametrize("attention", ["joint", "per_modality"])
def test_a_batch_of_videos_is_the_videos_one_by_one(attention: str) -> None:
    model = encoder(TINY.model_copy(update={"attention": attention}))
    features = videos(3)
    together = torch.stack(model(features), dim=1)
    assert together.shape == (3, 2, 10, 16)
    apart = [torch.stack(model({n: f[i : i + 1] for n, f in features.items()}), dim=1) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(apart))


def test_an_empty_batch_gives_no_embeddings_and_zero_gradients() -> None:
    model = encoder(TINY)
    audio, visual = model(videos(0))
    assert audio.shape == visual.shape == (0, 10, 16)
    (audio.sum() + visual.sum()).backward()
    assert all(bool((weight.grad == 0).all()) for weight in model.parameters() if weight.grad is not None)
    assert all(weight.grad is not None for weight in model.parameters())


def test_joint_attention_lets_a_snippet_see_the_other_modality() -> None:
    model, features = encoder(TINY), videos(2)
    assert not torch.allclose(model(features)[1], model(with_other(features, "vggish"))[1])


def test_attention_per_modality_keeps_the_modalities_apart() -> None:
    model, features = encoder(TINY.model_copy(update={"attention": "per_modality"})), videos(2)
    audio, visual = model(features)
    torch.testing.assert_close(model(with_other(features, "vggish"))[1], visual)
    torch.testing.assert_close(model(with_other(features, "resnet152"))[0], audio)


def test_every_second_sees_every_other_of_its_video_and_none_of_another() -> None:
    model, features = encoder(TINY), {name: array.float().requires_grad_() for name, array in videos(2).items()}
    audio, _ = model(features)
    reached = torch.autograd.grad(audio[0, 3].square().sum(), list(features.values()))
    for gradient in reached:
        assert bool((gradient[0].abs().sum(-1) > 0).all())
        assert bool((gradient[1] == 0).all())


def test_one_visual_feature_alone_is_enough() -> None:
    model = encoder(TINY.model_copy(update={"visual": ("resnet152",)}))
    assert model.widths == {"vggish": 8, "resnet152": 12}
    torch.testing.assert_close(model(videos(2)), model(with_other(videos(2), "r2plus1d_18")))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(Refusal, match="heads must divide width, but 5 does not divide 16"):
        ModelSettings(width=16, heads=5)


def test_a_saved_encoder_comes_back_as_it_was(tmp_path: Path) -> None:
    model = encoder(TINY)
    save_encoder(tmp_path / "encoder", model.state_dict(), TINY, model.widths, {"steps": 3})
    loaded = load_encoder(tmp_path / "encoder").eval()
    assert loaded.settings == TINY
    assert read_provenance(tmp_path / "encoder") == {"steps": 3}
    torch.testing.assert_close(loaded(videos(2)), model(videos(2)), rtol=0, atol=0)


def test_a_folder_without_an_encoder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"settings\.json' is missing: give the `encoder` folder"):
        load_encoder(tmp_path)


def test_damaged_weights_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    model = encoder(TINY)
    save_encoder(tmp_path, model.state_dict(), TINY, model.widths, {})
    weights = tmp_path / "encoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(Refusal, match="must be as pretrain wrote it"):
        load_encoder(tmp_path)
