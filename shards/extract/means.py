"""The means of an extraction: how files are examined and decoded, and which networks make features of them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from launch.refusal import Refusal
from shards.extract.decoding import Decoder
from shards.extract.networks import FeatureNetwork
from shards.extract.plan import Media
from shards.extract.recipes import RecipeSettings, describe, load, warning
from shards.schema import Feature


@dataclass(frozen=True)
class Means:
    """What reads files and makes features; `examine` and `decoder` go to other processes."""

    features: tuple[Feature, ...]
    load: Callable[[], Sequence[FeatureNetwork]]
    """The networks, a feature each; called once there is something to encode."""
    examine: Callable[[Path], Media]
    """Raises BadClip for a file that is no use."""
    decoder: Decoder
    warning: str = ""
    """What must be said of the networks, as of random weights."""
    told: Mapping[str, str] = field(default_factory=dict)
    """What else the bytes depend on, by name: the decoder with its versions, the device, limits."""


def means_of(
    recipe: RecipeSettings,
    decoder: Literal["pyav", "torchcodec"],
    device: Literal["auto", "cpu", "cuda"],
    images: int,
    max_pixels: int,
    audio_track: int | None,
) -> Means:
    """The real ones. Raises Refusal for weights, a device or a library that is not there."""
    chosen = _device(device)
    try:
        import av

        from shards.extract.decoding.opening import open_decoder
        from shards.extract.media import examine
    except ModuleNotFoundError as error:
        raise Refusal(
            f"Videos must be read by a library, but {error.name} is not installed: pip install 'soundsight[video]'."
        ) from None
    features = tuple(describe(recipe))
    reader = open_decoder(decoder, max_pixels)
    versions = {"pyav": f"{av.__version__}, FFmpeg {av.ffmpeg_version_info}"}
    told = {
        "decoder": f"{decoder} {versions.get(decoder) or sys.modules[decoder].__version__}",
        "device": torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type,
        "images": str(images),
        "max_pixels": str(max_pixels),
        "audio_track": "main" if audio_track is None else str(audio_track),
    }
    return Means(
        features,
        partial(load, recipe, chosen, images),
        partial(examine, max_pixels=max_pixels, audio_track=audio_track),
        reader,
        warning(features),
        told,
    )


def _device(asked: Literal["auto", "cpu", "cuda"]) -> torch.device:
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise Refusal("A device must be there, but this machine has no CUDA device that PyTorch sees: --device cpu.")
    return torch.device("cuda" if there and asked != "cpu" else "cpu")
