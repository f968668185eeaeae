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
from shards.extract.making.plan import Media
from shards.extract.networks import FeatureNetwork
from shards.extract.recipes import describe, load, warning
from shards.extract.settings import ExtractSettings
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


def means_of(settings: ExtractSettings) -> Means:
    """The real ones. Raises Refusal for weights, a device or a library that is not there."""
    chosen = _device(settings.device)
    try:
        from shards.extract.decoding.opening import open_decoder
        from shards.extract.media import examine
    except ModuleNotFoundError as error:
        raise Refusal(
            f"Videos must be read by a library, but {error.name} is not installed: pip install 'soundsight[video]'."
        ) from None
    features = tuple(describe(settings))
    reader = open_decoder(settings.decoder, settings.max_pixels)
    told = {
        "decoder": _versions(settings.decoder),
        "device": torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type,
        "images": str(settings.images),
        "max_pixels": str(settings.max_pixels),
        "audio_track": "main" if settings.audio_track is None else str(settings.audio_track),
    }
    return Means(
        features,
        partial(load, settings, chosen, settings.images),
        partial(examine, max_pixels=settings.max_pixels, audio_track=settings.audio_track),
        reader,
        warning(features),
        told,
    )


def _versions(decoder: str) -> str:
    """The decoder, and what else takes part: PyAV with its FFmpeg reads headers and sound for all."""
    import av

    others = "" if decoder == "pyav" else f"{decoder} {sys.modules[decoder].__version__}, "
    return f"{others}pyav {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def _device(asked: Literal["auto", "cpu", "cuda"]) -> torch.device:
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise Refusal("A device must be there, but this machine has no CUDA device that PyTorch sees: --device cpu.")
    return torch.device("cuda" if there and asked != "cpu" else "cpu")
