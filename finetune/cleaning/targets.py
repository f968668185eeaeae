"""What is wanted of each video of a batch: of the whole, of each modality, and (where it is known) of each second."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from finetune.network.attention import Present
from shards.schema import MODALITIES

Labels = Float[Tensor, "video category"]
OfModalities = Float[Tensor, "modality video category"]
OfSeconds = Float[Tensor, "modality video second category"]


@dataclass(frozen=True)
class Targets:
    """Labels between 0 and 1; the weak labels of LLP say of a modality, and of a second, no more than of the video."""

    video: Labels
    each: OfModalities
    """Of the audio, and of the visual."""
    seconds: OfSeconds | None = None
    """Of every second of each modality; None where nothing is known of them."""
    positive: Float[Tensor, "modality category"] | None = None
    """How many times as much as the others the positive seconds of a category weigh; None where all weigh alike."""

    @classmethod
    def weak(cls, labels: Labels) -> "Targets":
        """The video's labels, wanted of both modalities alike."""
        return cls(labels, labels.expand(len(MODALITIES), *labels.shape))

    def mixed(self, partner: Int[Tensor, " video"], share: Float[Tensor, " video"]) -> "Targets":
        """Each video's targets and those of its partner, `share` of its own and the rest of the partner's."""
        seconds = None if self.seconds is None else mix(self.seconds, partner, share, dim=1)
        each = mix(self.each, partner, share, dim=1)
        return replace(self, video=mix(self.video, partner, share), each=each, seconds=seconds)


def existing(values: Float[Tensor, "... video second _"], present: Present | None) -> Tensor:
    """The values, but zeros in seconds that are not present (None: all are)."""
    return values if present is None else values.masked_fill(~present[..., None], 0.0)


def mix(values: Tensor, partner: Int[Tensor, " video"], share: Float[Tensor, " video"], dim: int = 0) -> Tensor:
    """share · values + (1 − share) · the partners' values, where `dim` counts the videos."""
    shape = [1] * values.ndim
    shape[dim] = -1
    return torch.lerp(values.index_select(dim, partner), values, share.view(shape))
