"""Recipes: which features they have, how those agree with packed ones, and what decoders are asked for."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from launch.refusal import Refusal
from shards.extract import recipes
from shards.extract.decoding import Decoded, Picture, Wanted
from shards.extract.networks import r2plus1d_18, resnet152, vggish, weights
from shards.extract.networks.network import Network
from shards.extract.networks.weights import WeightSettings
from shards.extract.recipes import RECIPES, RecipeSettings, describe, load, settings_of, wanted, warning
from shards.schema import Feature, check_distinct
from shards.sources.arrays import RAW, VGGISH
from tests.shards.extract.networks.clips import noise

CPU = torch.device("cpu")
RATE, SEEN = 16000, Picture(4)


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightSettings:
    """Random weights, whatever this machine has."""
    return WeightSettings(folder=tmp_path, clip="no/clip", clap="no/clap", missing="random")


def test_features_of_the_published_weights_are_those_that_pack_makes_of_llps_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (vggish, resnet152, r2plus1d_18):
        (tmp_path / part.PUBLISHED.file).write_bytes(b"")
    monkeypatch.setattr(weights, "digest_of", lambda path: path.stem.split("-")[1].ljust(64, "0"))
    features = describe(RecipeSettings(weights=WeightSettings(folder=tmp_path)))
    assert [(each.name, each.width, each.variant) for each in features] == [
        (VGGISH, 128, RAW), ("resnet152", 2048, ""), ("r2plus1d_18", 512, "")
    ]  # fmt: skip
    for feature, digits in zip(features, ("10086976", "394f9c45", "91a641e6"), strict=True):
        assert digits.ljust(64, "0") in feature.source
        assert str(tmp_path) not in feature.source
    assert warning(features) == ""


def test_another_hop_is_another_feature(nothing: WeightSettings) -> None:
    variants = {describe(RecipeSettings(hop=hop, weights=nothing))[0].variant for hop in (1.0, 0.96, 0.98)}
    assert variants == {"raw, random weights", "raw, hop 0.96, random weights", "raw, hop 0.98, random weights"}


@pytest.mark.parametrize(("images", "said"), [(1, "1 image a second, "), (2, "2 images a second, "), (8, "")])
def test_fewer_images_are_other_features_of_the_networks_that_look_at_images(
    images: int, said: str, nothing: WeightSettings
) -> None:
    every = [
        feature
        for recipe in RECIPES
        for feature in describe(RecipeSettings(recipe=recipe, images_per_second=images, weights=nothing))
    ]
    variants = {feature.name: feature.variant for feature in every}
    assert variants["resnet152"] == variants["clip"] == f"{said}random weights"
    assert variants["r2plus1d_18"] == variants["clap"] == "random weights"
    assert all(
        (said or "8 images a second").rstrip(", ") in each.source
        for each in every
        if each.name in ("resnet152", "clip")
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_hears_and_sees_and_its_features_have_names_of_their_own(
    recipe: str, nothing: WeightSettings
) -> None:
    features = describe(RecipeSettings(recipe=recipe, weights=nothing))
    check_distinct(features)
    assert [feature.name for feature in features] == list(RECIPES[recipe])
    assert all(feature.name in warning(features) for feature in features)


def test_networks_make_the_features_that_were_described_and_ask_for_what_they_need(nothing: WeightSettings) -> None:
    settings = RecipeSettings(weights=nothing)
    networks = load(settings, CPU)
    assert [network.feature for network in networks] == describe(settings)
    assert [network.modality for network in networks] == ["audio", "visual", "visual"]
    assert wanted(networks, audio_track=1) == Wanted((Picture(224, 256), Picture(112)), (16000,), audio_track=1)
    assert wanted(networks + networks) == wanted(networks)


def test_only_what_is_random_is_warned_of() -> None:
    features = [Feature("vggish", 128, "raw"), Feature("resnet152", 2048, "random weights")]
    assert warning(features).startswith("RANDOM WEIGHTS: resnet152 come")
    assert warning(features[:1]) == ""


def test_a_joint_encoder_is_one_part_with_a_feature_a_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    class Joint(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.flatten(1).float().mean(dim=1, keepdim=True)

    class Half(Network):
        def inputs(self, decoded: Decoded, seconds: np.ndarray) -> np.ndarray:
            sound = decoded.sound[RATE].reshape(-1, RATE)[seconds].mean(axis=1)
            pictures = decoded.frames[SEEN].reshape(decoded.clip.seconds, -1)[seconds].mean(axis=1)
            return np.stack([sound, pictures], axis=1)

    part, module = ModuleType("joint"), Joint()
    features = (Feature("joint_audio", 1), Feature("joint_visual", 1))
    part.describe = lambda settings: features  # type: ignore[attr-defined]
    part.load = lambda settings, device, rows: tuple(  # type: ignore[attr-defined]
        Half(feature, needs, module, device, rows) for feature, needs in zip(features, (RATE, SEEN), strict=True)
    )
    monkeypatch.setitem(sys.modules, "shards.extract.networks.joint", part)
    monkeypatch.setitem(RECIPES, "llp", ("joint",))
    networks = load(RecipeSettings(), CPU)
    assert describe(RecipeSettings()) == list(features)
    assert [network.modality for network in networks] == ["audio", "visual"]
    clip = noise(wanted(networks), seconds=2, absent=[(0, 1)])
    audio, visual = (network.rows(clip) for network in networks)
    assert audio.shape == visual.shape == (2, 1)
    assert audio[0] == visual[0]
    assert audio[1] == 0 != visual[1]


@pytest.mark.parametrize("hop", [0.965, 0.95, 1.01, 0.0])
def test_a_hop_is_a_whole_number_of_steps_between_a_window_and_a_second(hop: float) -> None:
    with pytest.raises(Refusal, match="hop"):
        RecipeSettings(hop=hop)


@pytest.mark.parametrize("recipe", RECIPES)
def test_all_weights_that_are_missing_are_named_before_anything_is_built(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refusal:
        describe(RecipeSettings(recipe=recipe, weights=WeightSettings(folder=tmp_path, clip="no/clip", clap="no/clap")))
    *sentences, advice = str(refusal.value).split("\n")
    assert [sentence.split(" must")[0] for sentence in sentences] == [
        f"The weights of {part}" for part in RECIPES[recipe]
    ]
    assert advice.startswith("Or name another place (")
    assert all(f"--weights.{part}" in advice for part in ("folder", *RECIPES[recipe]))
    assert "--weights.missing random" in advice


@pytest.mark.parametrize("images", [1, 2, 8])
@pytest.mark.parametrize("hop", [0.96, 1.0])
def test_a_variant_tells_the_settings_that_make_it(
    images: Literal[1, 2, 8], hop: float, nothing: WeightSettings
) -> None:
    made = describe(RecipeSettings(images_per_second=images, hop=hop, weights=nothing))
    told = {name: value for feature in made for name, value in settings_of(feature.variant).items()}
    assert told == {
        "weights": "random weights",
        **({"images_per_second": str(images)} if images < 8 else {}),
        **({"hop": "0.96"} if hop < 1 else {}),
    }
    assert settings_of("raw") == {}
    assert settings_of("weights 1a2b3c4d") == {"weights": "weights 1a2b3c4d"}


def test_without_the_library_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(really: Callable[[str], ModuleType]) -> Callable[[str], ModuleType]:
        def importing(name: str) -> ModuleType:
            if name.endswith("clap"):
                raise ModuleNotFoundError("No module named 'transformers'", name="transformers")
            return really(name)

        return importing

    monkeypatch.setattr(recipes, "import_module", without(recipes.import_module))
    with pytest.raises(Refusal, match=r"transformers is not installed: pip install 'soundsight\[video\]'"):
        describe(RecipeSettings(recipe="clip_clap"))
