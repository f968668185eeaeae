"""Whether a parser reads what will be extracted is said beforehand, in a sentence with what differs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from finetune.parses.fits import EMBEDDED, SCALES, check_fits
from launch.refusal import Refusal
from pretrain.export import EMBEDDINGS
from pretrain.export import Config as ExportConfig
from pretrain.model import ModelSettings, Transformer, save_encoder
from shards.schema import Feature

MADE = (Feature("vggish", 4, "raw"), Feature("resnet152", 6))


def traits(**changes: Any) -> dict[str, Any]:
    whole = {one.name: {"width": one.width, "variant": one.variant, "encoder": ""} for one in MADE}
    return {name: of | changes.get(name, {}) for name, of in whole.items()}


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    widths = {one.name: one.width for one in MADE}
    settings = ModelSettings(audio=("vggish",), visual=("resnet152",), layers=1, width=8, heads=2)
    provenance = {"variants": {one.name: one.variant for one in MADE}}
    save_encoder(tmp_path, Transformer(settings, widths).state_dict(), settings, widths, provenance)
    return tmp_path


def embedded(encoder: Path, scale: str = "unit", **changes: Any) -> dict[str, Any]:
    digest = json.loads((encoder / "settings.json").read_text())["digest"]
    one = {"width": 8, "variant": f"{scale}-{digest[:12]}", "encoder": digest} | changes
    return dict.fromkeys(EMBEDDED, one)


def test_what_is_the_same_fits(encoder: Path) -> None:
    assert check_fits(traits(), MADE, "llp", None) == ""
    assert check_fits({"vggish": traits()["vggish"]}, MADE, "llp", None) == ""  # it need not read all
    for scale in SCALES:
        assert check_fits(embedded(encoder, scale), MADE, "llp", encoder) == scale


def test_the_names_are_those_of_export() -> None:
    assert EMBEDDED == EMBEDDINGS
    assert ExportConfig.model_fields["scale"].annotation.__args__ == SCALES


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"vggish": {"width": 5}}, "'vggish', which the recipe llp makes, has the width 4 where its training had 5"),
        ({"vggish": {"variant": "pca"}}, "has the variant 'raw' where its training had 'pca'"),
        ({"resnet152": {"encoder": "ab"}}, "'resnet152', which the recipe llp makes, has the encoder '' where"),
    ],
)
def test_other_traits_are_told(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        check_fits(traits(**changed), MADE, "llp", None)


@pytest.mark.parametrize(
    ("made", "trained", "remedy"),
    [
        ("random weights", "1 image a second, random weights", "--extract.images_per_second 1"),
        ("2 images a second", "", "--extract.images_per_second 8"),
        ("raw", "raw, hop 0.96", "--extract.hop 0.96"),
        ("raw, hop 0.96, random weights", "raw", "--extract.hop 1 and the published weights (--extract.weights.net)"),
        (
            "raw",
            "raw, random weights",
            "--extract.weights.missing random, and no file of weights where they are looked",
        ),
        ("", "weights 1a2b3c4d", "the weights 1a2b3c4d that its training had (--extract.weights.net)"),
        ("raw", "pca", "another recipe or weights, or an encoder (--encoder)"),
    ],
)
def test_the_remedy_is_the_setting_that_differs(made: str, trained: str, remedy: str, encoder: Path) -> None:
    expected = {"net": {"width": 4, "variant": trained, "encoder": ""}}
    with pytest.raises(Refusal, match=re.escape(f": give {remedy}")):
        check_fits(expected, [Feature("net", 4, made)], "llp", None)


def test_features_that_nothing_makes_are_told(encoder: Path) -> None:
    with pytest.raises(Refusal, match=r"'clip' is none of those that the recipe llp makes \(vggish, resnet152\)"):
        check_fits({"clip": traits()["vggish"]}, MADE, "llp", None)
    with pytest.raises(Refusal, match="'vggish' is none of those that the encoder in"):
        check_fits(traits(), MADE, "llp", encoder)


def test_another_encoder_or_one_of_other_features_is_told(encoder: Path) -> None:
    with pytest.raises(Refusal, match=r"which the encoder in .* makes, has the variant"):
        check_fits(embedded(encoder, variant="unit-000000000000"), MADE, "llp", encoder)
    with pytest.raises(Refusal, match="'vggish' will be 4 wide and 'raw, random weights', and is 4 wide and 'raw'"):
        check_fits(embedded(encoder), (Feature("vggish", 4, "raw, random weights"), MADE[1]), "llp", encoder)
    with pytest.raises(Refusal, match="'resnet152' will be not extracted"):
        check_fits(embedded(encoder), MADE[:1], "llp", encoder)
