"""CLAP, through tiny networks of random weights that transformers saves and loads as it does the real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import (
    ClapAudioConfig,
    ClapAudioModelWithProjection,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
)

from launch.refusal import Refusal
from shards.extract.networks import clap
from shards.extract.networks.weights import WeightSettings
from shards.extract.recipes import RecipeSettings
from tests.shards.extract.networks.clips import heard

CPU = torch.device("cpu")
RATE, WIDTH = 48000, 24


def save(folder: Path, fused: bool) -> Path:
    """A whole CLAP, with its text half and its extractor, as it is published."""
    torch.manual_seed(0)
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8, depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 1, 1], hidden_size=64,
        enable_fusion=fused, projection_dim=WIDTH,
    )  # fmt: skip
    text = ClapTextConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        projection_dim=WIDTH,
    )  # fmt: skip
    config = ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=WIDTH)
    ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor(truncation="fusion" if fused else "rand_trunc").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[True, False], ids=["fused", "unfused"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("clap") / "tiny", request.param)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)


def test_a_row_is_the_unit_embedding_of_its_second_repeated_to_ten(saved: Path, sound: np.ndarray) -> None:
    (network,) = clap.load(RecipeSettings(weights=WeightSettings(clap=str(saved))), CPU, rows=8)
    assert (network.needs, network.feature.width) == (RATE, WIDTH)
    rows = network.rows(heard(sound, RATE))
    model = ClapAudioModelWithProjection.from_pretrained(saved).eval()
    extractor = ClapFeatureExtractor.from_pretrained(saved)
    for second, row in enumerate(rows):
        repeated = np.tile(sound[second * RATE : (second + 1) * RATE], 10)
        features = extractor(repeated, sampling_rate=RATE, return_tensors="pt")["input_features"]
        with torch.inference_mode():
            embedding = model(input_features=features, is_longer=torch.tensor([[False]])).audio_embeds[0]
        np.testing.assert_allclose(row, (embedding / embedding.norm()).numpy(), rtol=1e-3, atol=1e-4)


def test_a_row_depends_on_its_second_alone_and_not_on_chance(saved: Path, sound: np.ndarray) -> None:
    (network,) = clap.load(RecipeSettings(weights=WeightSettings(clap=str(saved))), CPU, rows=8)
    (one_by_one,) = clap.load(RecipeSettings(weights=WeightSettings(clap=str(saved))), CPU, rows=1)
    np.random.seed(1)
    first = network.rows(heard(sound, RATE))
    np.random.seed(2)
    assert np.array_equal(network.rows(heard(sound, RATE)), first)
    np.testing.assert_allclose(one_by_one.rows(heard(sound, RATE)), first, rtol=1e-3, atol=1e-5)
    alone = network.rows(heard(sound[RATE : 2 * RATE], RATE))
    np.testing.assert_allclose(alone[0], first[1], rtol=1e-3, atol=1e-5)
    assert np.abs(first[0] - first[1]).max() > 1e-4


def test_without_the_extractors_file_it_is_the_one_for_the_network(saved: Path, sound: np.ndarray) -> None:
    extractor = saved / "preprocessor_config.json"
    with_it = clap.load(RecipeSettings(weights=WeightSettings(clap=str(saved))), CPU, rows=8)[0].rows(
        heard(sound, RATE)
    )
    kept = extractor.read_bytes()
    extractor.unlink()
    without = clap.load(RecipeSettings(weights=WeightSettings(clap=str(saved))), CPU, rows=8)[0].rows(
        heard(sound, RATE)
    )
    extractor.write_bytes(kept)
    assert np.array_equal(with_it, without)


def test_a_checkpoint_that_hears_at_another_rate_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "tiny", fused=True)
    ClapFeatureExtractor(sampling_rate=44100).save_pretrained(folder)
    with pytest.raises(Refusal, match=r"CLAP must hear at 48000 Hz, .* says 44100 Hz"):
        clap.load(RecipeSettings(weights=WeightSettings(clap=str(folder))), CPU, rows=8)


def test_silence_has_a_row_of_its_own(saved: Path) -> None:
    rows = clap.load(RecipeSettings(weights=WeightSettings(clap=str(saved))), CPU, rows=8)[0].rows(
        heard(np.zeros(RATE), RATE)
    )
    assert np.linalg.norm(rows[0]) == pytest.approx(1.0, abs=1e-4)


def test_a_checkpoint_that_is_not_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Refusal, match=r"weights of clap must be on this machine, but 'laion/clap-htsat-fused'"):
        clap.describe(RecipeSettings(weights=WeightSettings()))


def test_random_weights_run_and_have_the_published_networks_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound: np.ndarray
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (network,) = clap.load(RecipeSettings(weights=WeightSettings(missing="random")), CPU, rows=8)
    rows = network.rows(heard(sound[:RATE], RATE))
    assert (rows.shape, network.feature.variant) == ((1, 512), "random weights")
    assert np.linalg.norm(rows) == pytest.approx(1.0, abs=1e-4)
