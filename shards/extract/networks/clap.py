"""CLAP: each second of sound by itself becomes an audio embedding of length 1.

The network hears ten seconds: as in its authors' code the second is repeated until it fills them (`repeatpad`). With
a checkpoint that fuses views of longer sound, a second is never taken for a longer one (its extractor would pick one of
a batch at random and call it longer, so that a row would depend on chance and on its neighbours).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ClapAudioConfig, ClapAudioModelWithProjection, ClapFeatureExtractor

from launch.refusal import Refusal
from shards.extract.decoding import Decoded
from shards.extract.networks import checkpoint
from shards.extract.networks.network import Network
from shards.extract.networks.weights import WeightSettings
from shards.extract.recipes import RecipeSettings
from shards.schema import Feature

NETWORK = "clap"
RATE = 48000
EXTRACTOR = "preprocessor_config.json"
FUSED, PLAIN = "fusion", "rand_trunc"
"""What the extractor calls checkpoints that fuse views of longer sound, and those that do not."""


class Embedding(nn.Module):
    """From log-mel spectrograms to embeddings of length 1."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, heard: Float[Tensor, "second view time band"]) -> Float[Tensor, "second width"]:
        longer = torch.zeros(len(heard), 1, dtype=torch.bool, device=heard.device)
        return F.normalize(self.model(input_features=heard, is_longer=longer).audio_embeds, dim=-1)


class Listening(Network):
    """CLAP over a clip's sound at 48 kHz."""

    def __init__(self, feature: Feature, module: nn.Module, extractor: Any, device: torch.device, rows: int) -> None:
        super().__init__(feature, RATE, module, device, rows)
        self._extractor = extractor

    def inputs(self, decoded: Decoded, seconds: np.ndarray) -> Float[np.ndarray, "second view time band"]:
        """The spectrogram of each of these seconds, in as many views as the checkpoint wants."""
        sound = decoded.sound[RATE].reshape(-1, RATE)
        every = [self._extractor(sound[second], sampling_rate=RATE)["input_features"][0] for second in seconds]
        return np.stack([np.asarray(each, np.float32) for each in every])


def describe(settings: RecipeSettings) -> tuple[Feature, ...]:
    """The feature; its variant names the weights."""
    found, config = checkpoint.told(NETWORK, settings.weights), _configuration(settings.weights)
    source = f"CLAP, unit audio embedding of each second of 48 kHz mono, repeated to ten seconds, {found}"
    return (Feature(NETWORK, config.projection_dim, found.variant, source),)


def load(settings: RecipeSettings, device: torch.device, rows: int) -> tuple[Listening, ...]:
    """The network on its device."""
    (feature,), config = describe(settings), _configuration(settings.weights)
    model = checkpoint.read(ClapAudioModelWithProjection, config, NETWORK, settings.weights)
    extractor = _extractor(checkpoint.folder_of(NETWORK, settings.weights), config.enable_fusion)
    return (Listening(feature, Embedding(model), extractor, device, rows),)


def _configuration(weights: WeightSettings) -> Any:
    folder = checkpoint.folder_of(NETWORK, weights)
    if folder is None:
        return ClapAudioConfig(enable_fusion=True, projection_dim=512)
    return checkpoint.configuration(ClapAudioConfig, folder, NETWORK)


def _extractor(folder: Path | None, fused: bool) -> Any:
    """What makes spectrograms: the checkpoint's own, or the one that its kind was published with."""
    if folder is None or not (folder / EXTRACTOR).is_file():
        return ClapFeatureExtractor(truncation=FUSED if fused else PLAIN)
    extractor = checkpoint.configuration(ClapFeatureExtractor, folder, NETWORK)
    if extractor.sampling_rate != RATE or extractor.nb_max_samples < RATE:
        raise Refusal(
            f"CLAP must hear at {RATE} Hz, a second or more, but '{folder / EXTRACTOR}' says {extractor.sampling_rate} "
            f"Hz and {extractor.max_length_s} s: give a checkpoint of LAION's."
        )
    return extractor
