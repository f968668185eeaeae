"""Embeddings for looking at: of both modalities together, and of each alone, the other masked at the input."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.evaluation.health import Embedded
from pretrain.loss.pairs import AUDIO, VISUAL
from shards.schema import MODALITIES, SECONDS

Encode = Callable[[Mapping[str, Tensor], Bool[Tensor, "video modality second"] | None], tuple[Tensor, Tensor]]
"""Features of videos, and which of their tokens there are, to audio and visual embeddings."""


def embed(
    encode: Encode,
    features: Mapping[str, Float[Tensor, "video second feature"]],
    present: Bool[Tensor, "video modality second"] | None = None,
) -> Embedded:
    """Unit-length embeddings of videos; a modality alone knows nothing of the other, and no second of absent ones."""
    audio, visual = (normalize(each, dim=-1) for each in encode(features, present))
    videos, device = len(audio), audio.device
    audio_alone = encode(features, only(AUDIO, videos, device, present))[AUDIO]
    visual_alone = encode(features, only(VISUAL, videos, device, present))[VISUAL]
    return Embedded(audio, visual, normalize(audio_alone, dim=-1), normalize(visual_alone, dim=-1), present)


def only(
    modality: int, videos: int, device: torch.device, present: Bool[Tensor, "video modality second"] | None = None
) -> Bool[Tensor, "video modality second"]:
    """The mask of videos of which one modality is there, in the seconds that have it (None: all)."""
    mask = torch.zeros(videos, len(MODALITIES), SECONDS, dtype=torch.bool, device=device)
    mask[:, modality] = True if present is None else present[:, modality]
    return mask
