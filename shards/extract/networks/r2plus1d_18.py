"""R(2+1)D-18 trained on Kinetics-400: a second's eight frames, seen together, become 512 numbers.

Frames are resized to 112 × 112 whatever their shape, as LLP's authors did.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from shards.extract.decoding import Picture
from shards.extract.networks.network import Normalised, Stacks
from shards.extract.networks.weights import Published, read, told
from shards.extract.recipes import RecipeSettings
from shards.schema import Feature

PUBLISHED = Published(
    "r2plus1d_18",
    "r2plus1d_18-91a641e6.pth",
    "https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth",
    digests=("91a641e6",),
    closing=r"\.conv2\.1\.weight$",
)
WIDTH, CLASSES = 512, 400
PICTURE = Picture(112)
MEAN, DEVIATION = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
"""Kinetics', of red, green and blue."""
LAYERS, BLOCKS = 4, 2


def _apart(before: int, inner: int, after: int, stride: int) -> nn.Sequential:
    """A convolution over the picture, then one over time: one of 3 × 3 × 3 in two, with about as many parameters."""
    return nn.Sequential(
        nn.Conv3d(before, inner, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False),
        nn.BatchNorm3d(inner),
        nn.ReLU(inplace=True),
        nn.Conv3d(inner, after, (3, 1, 1), (stride, 1, 1), padding=(1, 0, 0), bias=False),
    )


class Block(nn.Module):
    """Two such convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inner = 27 * before * after // (9 * before + 3 * after)
        self.conv1 = nn.Sequential(_apart(before, inner, after, stride), nn.BatchNorm3d(after), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(_apart(after, inner, after, 1), nn.BatchNorm3d(after))
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if before != after or stride != 1:
            self.downsample = nn.Sequential(nn.Conv3d(before, after, 1, stride, bias=False), nn.BatchNorm3d(after))

    def forward(self, seen: Tensor) -> Tensor:
        return self.relu(self.conv2(self.conv1(seen)) + self.downsample(seen))


class R2Plus1D18(nn.Module):
    """The network with torchvision's parameter names; the classifier is held, since the file has it, and not used."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(45),
            nn.ReLU(inplace=True),
            nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
        )
        before = 64
        for number in range(LAYERS):
            after, stride = 64 << number, 1 if number == 0 else 2
            rest = (Block(after, after, 1) for _ in range(BLOCKS - 1))
            setattr(self, f"layer{number + 1}", nn.Sequential(Block(before, after, stride), *rest))
            before = after
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, stacks: Float[Tensor, "stack 3 picture height width"]) -> Float[Tensor, "stack 512"]:
        """What the classifier would see: the last layer's values averaged over picture and time."""
        seen = self.stem(stacks)
        for number in range(LAYERS):
            seen = getattr(self, f"layer{number + 1}")(seen)
        return seen.mean(dim=(2, 3, 4))


def describe(settings: RecipeSettings) -> tuple[Feature, ...]:
    """The feature; the published weights' has no variant, like LLP's packed ones."""
    found = told(PUBLISHED, settings.weights)
    source = f"R(2+1)D-18, the 8 frames of a second together, resized to 112 × 112, {found}"
    return (Feature("r2plus1d_18", WIDTH, found.variant, source),)


def load(settings: RecipeSettings, device: torch.device, rows: int) -> tuple[Stacks, ...]:
    """The network on its device."""
    (feature,) = describe(settings)
    module = Normalised(read(PUBLISHED, settings.weights, R2Plus1D18), MEAN, DEVIATION)
    return (Stacks(feature, PICTURE, module, device, rows),)
