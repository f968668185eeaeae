"""The modality discriminator behind gradient reversal: it learns to tell audio from visual, the parser to hide it."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from finetune.network.attention import Present
from finetune.network.blocks import Streams
from finetune.present import rows_there


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, alpha: float) -> Tensor:
        ctx.alpha = alpha
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.alpha * gradients[0], None


def reverse_gradient(features: Tensor, alpha: float) -> Tensor:
    """The features unchanged; on the way back the gradient is multiplied by −α (Ganin et al., JMLR 2016)."""
    return _Reverse.apply(features, alpha)  # pyright: ignore[reportReturnType]


def alpha_at(progress: float) -> float:
    """α = 2 / (1 + e^(−10·progress)) − 1: from 0 at the start of training (progress 0) to 1 at its end (progress 1)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class Discriminator(nn.Module):
    """Tells an audio from a visual snippet by its joint features: width-128-10-1 with batch normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 128),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Linear(128, 10),
            nn.BatchNorm1d(10),
            nn.ReLU(),
            nn.Linear(10, 1),
        )

    def forward(self, features: Float[Tensor, "snippet width"]) -> Float[Tensor, " snippet"]:
        """The logit of each snippet being audio."""
        return self.layers(features).squeeze(1)

    def loss(self, joint: Streams, alpha: float, present: Present | None = None) -> Tensor:
        """L_ad (eq. 1, read as binary cross-entropy): mean over all snippets of both modalities that are present.

        Descending it trains the discriminator; the reversal makes the same step ascend in the parser, which is the
        minus sign before λ_ad in eq. (2). Fewer than two snippets have no statistics to normalise by, and give 0.
        """
        is_audio = torch.zeros(joint.shape[:3], device=joint.device)
        is_audio[0] = 1.0
        features = rows_there(reverse_gradient(F.relu(joint), alpha), present)
        if len(features) < 2:
            return 0 * features.sum()
        return F.binary_cross_entropy_with_logits(self(features), rows_there(is_audio, present))
