"""Recipes: which networks make the features of a corpus, by the name of the field's feature sets.

To add one, write a file in `networks/` with `describe` and `load` (see Part), and name it in a line of
RECIPES. A joint audio-visual encoder is one such file: it describes a feature a modality, and `load` gives a network
each, both holding the one module and the rows of the clip that it last saw.
"""

import re
from collections.abc import Sequence
from importlib import import_module
from typing import Literal, Protocol, cast

import torch
from pydantic import Field, model_validator

from launch.refusal import Refusal
from launch.settings import Settings
from shards.extract.decoding import FRAMES_PER_SECOND, Picture, Wanted
from shards.extract.networks import FeatureNetwork
from shards.extract.networks.weights import RANDOM, Found, Missing, WeightSettings
from shards.schema import Feature

RECIPES = {
    "llp": ("vggish", "resnet152", "r2plus1d_18"),
    "clip_clap": ("clap", "clip", "r2plus1d_18"),
}
"""A recipe's parts: files of `networks/`, which are imported only where they are used."""
STEPS = 100
"""Steps of VGGish's spectrogram in a second; a hop is a whole number of them."""


class RecipeSettings(Settings):
    """Which features are extracted, and with which weights."""

    recipe: Literal["llp", "clip_clap"] = Field(
        "llp", description="llp: VGGish, ResNet-152, R(2+1)D-18; clip_clap: CLAP, CLIP, R(2+1)D-18"
    )
    hop: float = Field(
        1.0, ge=0.96, le=1.0, description="seconds from one VGGish window (0.96 s) to the next; the release's is 0.96"
    )
    images_per_second: Literal[1, 2, 4, 8] = Field(
        8, description="frames of each second that ResNet-152 and CLIP look at, evenly spread; LLP's features: 8"
    )
    weights: WeightSettings = WeightSettings()

    @model_validator(mode="after")
    def _whole_steps(self) -> "RecipeSettings":
        if abs(self.hop * STEPS - round(self.hop * STEPS)) > 1e-6:
            raise ValueError(f"hop must be a whole number of hundredths of a second, but is {self.hop}.")
        return self


class Part(Protocol):
    """What a recipe is made of: a file of `networks/`, which knows one architecture and its published weights."""

    def describe(self, settings: RecipeSettings) -> tuple[Feature, ...]:
        """The features it makes, with the digest of the weights in their source; nothing is built."""

    def load(self, settings: RecipeSettings, device: torch.device, rows: int) -> tuple[FeatureNetwork, ...]:
        """A network a feature, in the same order, on a device; `rows` pictures a forward pass at most."""


def describe(settings: RecipeSettings) -> list[Feature]:
    """The features of a recipe, with the digests of their weights.

    Raises Refusal where weights are no good; of those that are missing it names all, a sentence each.
    """
    features, missing = list[Feature](), list[Missing]()
    for part in _parts(settings):
        try:
            features += part.describe(settings)
        except Missing as refusal:
            missing.append(refusal)
    if missing:
        raise Missing.joined(missing)
    return features


def load(settings: RecipeSettings, device: torch.device, rows: int = 64) -> list[FeatureNetwork]:
    """The recipe's networks, a feature each; `rows` pictures a forward pass at most."""
    parts = _parts(settings)
    return [network for part in parts for network in part.load(settings, device, rows)]


def images_of(settings: RecipeSettings) -> str:
    """How many images of a second are looked at, in words."""
    images = settings.images_per_second
    return f"{images} image{'s' if images > 1 else ''} a second"


def variant_of_images(settings: RecipeSettings, found: Found) -> str:
    """The variant of what a network makes of single images: their number where it is not LLP's, and the weights."""
    few = "" if settings.images_per_second == FRAMES_PER_SECOND else images_of(settings)
    return ", ".join(word for word in (few, found.variant) if word)


def settings_of(variant: str) -> dict[str, str]:
    """What a variant tells of settings: of those that are as they are by themselves, nothing.

    >>> settings_of("raw, hop 0.96, random weights")
    {'hop': '0.96', 'weights': 'random weights'}
    """
    return {name: found[1] for name, pattern in _TOLD.items() if (found := re.search(pattern, variant))}


_TOLD = {
    "hop": r"\bhop ([\d.]+)",
    "images_per_second": r"\b(\d+) images? a second\b",
    "weights": rf"\b({RANDOM}|weights [0-9a-f]+)\b",
}


def wanted(networks: Sequence[FeatureNetwork], audio_track: int | None = None) -> Wanted:
    """What decoders are asked for: all that the networks need, each once."""
    needs = list(dict.fromkeys(network.needs for network in networks))
    pictures = tuple(need for need in needs if isinstance(need, Picture))
    return Wanted(pictures, tuple(need for need in needs if isinstance(need, int)), audio_track=audio_track)


def warning(features: Sequence[Feature]) -> str:
    """One sentence on features that nothing was learned for; empty where there are none."""
    names = [feature.name for feature in features if feature.variant.endswith(RANDOM)]
    if not names:
        return ""
    return (
        f"RANDOM WEIGHTS: {', '.join(names)} come from networks that have learned nothing, so what is parsed from them "
        "means nothing: they show the way only. Features that mean something are extracted with the published weights."
    )


def _parts(settings: RecipeSettings) -> list[Part]:
    try:
        return [cast(Part, import_module(f"shards.extract.networks.{name}")) for name in RECIPES[settings.recipe]]
    except ModuleNotFoundError as error:
        raise Refusal(
            f"The recipe {settings.recipe} must have its networks' library, but {error.name} is not installed: "
            "pip install 'soundsight[video]'."
        ) from None
