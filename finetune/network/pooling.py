"""Attentive MMIL pooling: from a probability per second and modality to one per modality and one per video."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from finetune.network.attention import Present
from finetune.network.blocks import Streams

EDGE = 1e-7
"""Pooled probabilities are clamped to [EDGE, 1 − EDGE]."""


@dataclass(frozen=True)
class Parsed:
    """A batch of videos as the parser sees them; all but `joint` are probabilities."""

    seconds: Float[Tensor, "modality video second category"]
    audio: Float[Tensor, "video category"]
    visual: Float[Tensor, "video category"]
    video: Float[Tensor, "video category"]
    joint: Streams
    """The joint features z before pooling: what the modality discriminator looks at."""
    present: Present | None = None
    """Which seconds exist, of a video or of each modality of it; None where all do. What `seconds` and `joint` hold of
    the others means nothing."""


class Pooling(nn.Module):
    """P = σ(fc(z)); W_t a softmax over seconds, W_m a softmax over modalities; p_m = Σ_t W_t·P, p = Σ_t,m W_t·W_m·P.

    W_t sums to one over the seconds of a modality and W_m over the modalities of a second, but their product sums to
    anything between 0 and 2: p can exceed 1. It is clamped, and so has no gradient there; p_audio and p_visual, which
    are true averages, still have theirs.
    """

    def __init__(self, width: int, categories: int) -> None:
        super().__init__()
        self.probability, self.over_time, self.over_modality = (nn.Linear(width, categories) for _ in range(3))

    def forward(self, joint: Streams, present: Present | None = None) -> Parsed:
        """The probabilities; absent seconds weigh nothing (their own P is still filled in).

        Where `present` is (modality, video, second), a modality that a second lacks leaves all of W_m to the other,
        and one that a video lacks altogether has the probability EDGE.
        """
        seconds = torch.sigmoid(self.probability(joint))
        weighted = seconds * _weights(self.over_time(joint), present, dim=2)
        each = weighted.sum(dim=2).clamp(EDGE, 1 - EDGE)
        video = (weighted * _weights(self.over_modality(joint), present, dim=0)).sum(dim=(0, 2))
        return Parsed(seconds, each[0], each[1], video.clamp(EDGE, 1 - EDGE), joint, present)


def _weights(
    scores: Float[Tensor, "modality video second category"], present: Present | None, dim: int
) -> Float[Tensor, "modality video second category"]:
    """The softmax over what is present; zero for the rest, also where nothing is."""
    if present is None:
        return scores.softmax(dim)
    absent = ~present[..., None]
    return scores.masked_fill(absent, -torch.inf).softmax(dim).masked_fill(absent, 0)
