"""CLIP: a second's frames become an image embedding each, of length 1, and these are averaged.

Frames are resized to the network's square whatever their shape, as the best published parsers (VALOR) did, so that
nothing at the sides is lost. They looked at one frame
a second (`images_per_second` 1).
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from shards.extract.decoding import Picture
from shards.extract.networks import checkpoint
from shards.extract.networks.network import Frames, Normalised
from shards.extract.networks.weights import WeightSettings
from shards.extract.recipes import RecipeSettings, images_of, variant_of_images
from shards.schema import Feature

NETWORK = "clip"
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own, of red, green and blue."""
LARGE = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "patch_size": 14, "image_size": 224, "projection_dim": 768,
}  # fmt: skip
"""The shape of ViT-L/14, which random weights have."""


class Embedding(nn.Module):
    """From normalised pictures to embeddings of length 1."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: Float[Tensor, "picture 3 height width"]) -> Float[Tensor, "picture width"]:
        return F.normalize(self.model(pixel_values=pictures).image_embeds, dim=-1)


def describe(settings: RecipeSettings) -> tuple[Feature, ...]:
    """The feature; its variant names the weights."""
    found, config = checkpoint.told(NETWORK, settings.weights), _configuration(settings.weights)
    source = (
        f"CLIP, unit embeddings of {images_of(settings)} averaged, resized to "
        f"{config.image_size} × {config.image_size}, {found}"
    )
    return (Feature(NETWORK, config.projection_dim, variant_of_images(settings, found), source),)


def load(settings: RecipeSettings, device: torch.device, rows: int) -> tuple[Frames, ...]:
    """The network on its device."""
    (feature,), config = describe(settings), _configuration(settings.weights)
    model = checkpoint.read(CLIPVisionModelWithProjection, config, NETWORK, settings.weights)
    module = Normalised(Embedding(model), MEAN, DEVIATION)
    return (Frames(feature, Picture(config.image_size), module, device, rows, settings.images_per_second),)


def _configuration(weights: WeightSettings) -> Any:
    folder = checkpoint.folder_of(NETWORK, weights)
    if folder is None:
        return CLIPVisionConfig(**cast(Any, LARGE))
    return checkpoint.configuration(CLIPVisionConfig, folder, NETWORK)
