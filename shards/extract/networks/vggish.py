"""VGGish: sound becomes 128 numbers a second, the raw embedding without the release's PCA and quantisation.

A patch is 0.96 s. With `hop` 1.0 one begins at each whole second, as LLP's authors cut their features; with the
release's own 0.96 row i is the i-th patch, so that ten rows cover 9.6 s.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from shards.extract.decoding import Decoded
from shards.extract.networks.log_mel import RATE, STEP, patches
from shards.extract.networks.network import Network
from shards.extract.networks.weights import Published, read, told
from shards.extract.recipes import RecipeSettings
from shards.schema import Feature

PUBLISHED = Published(
    "vggish",
    "vggish-10086976.pth",
    "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
    digests=("10086976",),
)
WIDTH = 128
RAW, WHOLE = "raw", 1.0
"""The variant's name, and the hop at which it needs no further words."""


class Vggish(nn.Module):
    """The network with the parameter names of its PyTorch release."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, halves in ((1, 64, True), (64, 128, True), (128, 256, False), (256, 256, True),
                                      (256, 512, False), (512, 512, True)):  # fmt: skip
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()] + ([nn.MaxPool2d(2)] if halves else [])
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(6 * 4 * 512, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, WIDTH), nn.ReLU()
        )

    def forward(self, patch: Float[Tensor, "patch 96 64"]) -> Float[Tensor, "patch 128"]:
        """The embedding of each log-mel patch, after its last ReLU."""
        seen = self.features(patch[:, None])
        # the first linear layer was trained on (time, band, channel)
        return self.embeddings(seen.movedim(1, 3).flatten(1))


class Listening(Network):
    """VGGish over a clip's sound at 16 kHz."""

    def __init__(self, feature: Feature, module: nn.Module, hop: float, device: torch.device, rows: int) -> None:
        """`hop`: seconds from the beginning of one patch to that of the next."""
        super().__init__(feature, RATE, module, device, rows)
        self._hop = round(hop * RATE / STEP) * STEP

    def inputs(self, decoded: Decoded, seconds: np.ndarray) -> Float[np.ndarray, "patch 96 64"]:
        """The log-mel patch of each of these seconds."""
        return patches(decoded.sound[RATE], seconds * self._hop)


def describe(settings: RecipeSettings) -> tuple[Feature, ...]:
    """The feature, whose variant is that of LLP's packed features for the published weights and a hop of 1.0."""
    found, hop = told(PUBLISHED, settings.weights), settings.hop
    words = [RAW, *([] if hop == WHOLE else [f"hop {hop:g}"]), *([found.variant] if found.variant else [])]
    source = (
        f"VGGish, raw embedding after the last ReLU, log-mel patches of 0.96 s every {hop:g} s of 16 kHz mono, {found}"
    )
    return (Feature("vggish", WIDTH, ", ".join(words), source),)


def load(settings: RecipeSettings, device: torch.device, rows: int) -> tuple[Listening, ...]:
    """The network on its device."""
    (feature,) = describe(settings)
    return (Listening(feature, read(PUBLISHED, settings.weights, Vggish), settings.hop, device, rows),)
