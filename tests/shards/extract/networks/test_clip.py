"""CLIP, through a tiny network of random weights that transformers saves and loads as it does the real one."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel

from launch.digest import sha256_file
from launch.refusal import Refusal
from shards.extract.decoding import Picture
from shards.extract.networks import clip
from shards.extract.networks.weights import WeightSettings
from shards.extract.recipes import RecipeSettings
from tests.shards.extract.networks.clips import blobs, seen

CPU = torch.device("cpu")
SIZE, WIDTH = 32, 24
SMALL: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP, with its text half, as it is published."""
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**SMALL, "vocab_size": 50, "projection_dim": WIDTH},
        vision_config={**SMALL, "image_size": SIZE, "patch_size": 8, "projection_dim": WIDTH},
        projection_dim=WIDTH,
    )
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_row_is_the_average_of_eight_unit_image_embeddings(saved: Path) -> None:
    (network,) = clip.load(RecipeSettings(weights=WeightSettings(clip=str(saved))), CPU, rows=5)
    assert network.needs == Picture(SIZE)
    assert network.feature.width == WIDTH
    frames = blobs(np.random.default_rng(0), 16, SIZE)
    rows = network.rows(seen(frames, Picture(SIZE)))
    mean, deviation = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.from_numpy(((frames / 255 - mean) / deviation).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        every = CLIPModel.from_pretrained(saved).eval().get_image_features(pixel_values=pixels)
    every = every if isinstance(every, torch.Tensor) else every.pooler_output
    unit = every / every.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(rows, unit.reshape(2, 8, WIDTH).mean(dim=1).numpy(), rtol=1e-4, atol=1e-5)


def test_the_weights_digest_is_the_variant_and_the_whole_of_it_is_in_the_source(saved: Path) -> None:
    (feature,) = clip.describe(RecipeSettings(weights=WeightSettings(clip=str(saved))))
    digest = sha256_file(saved / "model.safetensors")
    assert feature.variant == f"weights {digest[:8]}"
    assert digest in feature.source
    assert str(saved.parent) not in feature.source


def test_the_folder_one_stands_in_has_its_own_name(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved)
    (feature,) = clip.describe(RecipeSettings(weights=WeightSettings(clip=".")))
    assert "weights tiny, sha256" in feature.source


def test_another_networks_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=50, **SMALL)).save_pretrained(tmp_path)
    with pytest.raises(Refusal, match="must hold that network"):
        clip.load(RecipeSettings(weights=WeightSettings(clip=str(tmp_path))), CPU, rows=8)


def test_a_name_is_looked_for_in_the_cache(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--someone--tiny"
    shutil.copytree(saved, model / "snapshots" / "abc")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    by_name, by_folder = (
        clip.load(RecipeSettings(weights=WeightSettings(clip=name)), CPU, rows=8)[0]
        for name in ("someone/tiny", str(saved))
    )
    frames = seen(blobs(np.random.default_rng(0), 8, SIZE), Picture(SIZE))
    assert np.array_equal(by_name.rows(frames), by_folder.rows(frames))
    assert by_name.feature.variant == by_folder.feature.variant
    assert "someone/tiny" in by_name.feature.source


@pytest.mark.parametrize("name", ["openai/clip-vit-large-patch14", "no such/name/at all"])
def test_a_checkpoint_that_is_not_here_is_named_with_the_places_where_it_goes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Refusal, match=r"weights of clip must be on this machine") as refusal:
        clip.describe(RecipeSettings(weights=WeightSettings(clip=name)))
    for place in (name, str(tmp_path), f"https://huggingface.co/{name}", "--weights.clip", "--weights.missing random"):
        assert place in str(refusal.value)


def test_weights_in_pytorchs_own_format_say_the_same(saved: Path, tmp_path: Path) -> None:
    shutil.copy(saved / "config.json", tmp_path)
    torch.save(load_file(saved / "model.safetensors"), tmp_path / "pytorch_model.bin")
    frames = seen(blobs(np.random.default_rng(0), 8, SIZE), Picture(SIZE))
    same, other = (
        clip.load(RecipeSettings(weights=WeightSettings(clip=str(folder))), CPU, rows=8)[0].rows(frames)
        for folder in (saved, tmp_path)
    )
    assert np.array_equal(same, other)


def test_half_precision_weights_are_run_in_single(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    CLIPModel.from_pretrained(saved).half().save_pretrained(tmp_path)
    frames = seen(blobs(np.random.default_rng(0), 8, SIZE), Picture(SIZE))
    whole, half = (
        clip.load(RecipeSettings(weights=WeightSettings(clip=str(folder))), CPU, rows=8)[0].rows(frames)
        for folder in (saved, tmp_path)
    )
    np.testing.assert_allclose(half, whole, atol=1e-3)


def test_a_folder_without_weights_is_refused(saved: Path, tmp_path: Path) -> None:
    shutil.copy(saved / "config.json", tmp_path)
    with pytest.raises(Refusal, match=r"must hold config\.json and weights"):
        clip.describe(RecipeSettings(weights=WeightSettings(clip=str(tmp_path), missing="random")))


def test_weights_that_lack_a_part_are_refused_and_not_made_up(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    state = load_file(tmp_path / "model.safetensors")
    state.pop("visual_projection.weight")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refusal, match=r"it has no 'visual_projection\.weight' that fits"):
        clip.load(RecipeSettings(weights=WeightSettings(clip=str(tmp_path))), CPU, rows=8)


def test_truncated_weights_are_refused(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    whole = (saved / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refusal, match="must hold that network"):
        clip.load(RecipeSettings(weights=WeightSettings(clip=str(tmp_path))), CPU, rows=8)


def test_a_configuration_that_is_not_one_is_refused(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(Refusal, match="must hold that network"):
        clip.describe(RecipeSettings(weights=WeightSettings(clip=str(tmp_path))))


def test_random_weights_have_the_published_networks_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (feature,) = clip.describe(RecipeSettings(weights=WeightSettings(missing="random")))
    assert (feature.width, feature.variant) == (768, "random weights")


def test_random_weights_run_and_are_the_same_each_time(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    small = json.loads((saved / "config.json").read_text())["vision_config"]
    monkeypatch.setattr(clip, "LARGE", {name: small[name] for name in clip.LARGE})
    frames = seen(blobs(np.random.default_rng(0), 8, SIZE), Picture(SIZE))
    first, second = (
        clip.load(RecipeSettings(weights=WeightSettings(missing="random")), CPU, rows=8)[0].rows(frames)
        for _ in range(2)
    )
    assert np.array_equal(first, second)
    assert 0.1 < np.linalg.norm(first) <= 1.0001
