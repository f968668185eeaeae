"""ResNet-152 trained on ImageNet: a second's frames become 2,048 numbers each, which are averaged.

Frames are resized to a shorter side of 256, of which the middle 224 × 224 is seen, as LLP's authors did.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from shards.extract.decoding import Picture
from shards.extract.networks.network import Frames, Normalised
from shards.extract.networks.weights import Published, read, told
from shards.extract.recipes import RecipeSettings, images_of, variant_of_images
from shards.schema import Feature

PUBLISHED = Published(
    "resnet152",
    "resnet152-394f9c45.pth",
    "https://download.pytorch.org/models/resnet152-394f9c45.pth",
    digests=("394f9c45", "b121ed2d"),
    older=("resnet152-b121ed2d.pth",),
    closing=r"\.bn3\.weight$",
)
WIDTH, CLASSES = 2048, 1000
PICTURE = Picture(224, shorter=256)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of red, green and blue."""
BLOCKS = (3, 8, 36, 3)


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 (which strides) and 1 × 1 convolutions beside a shortcut."""

    def __init__(self, before: int, inner: int, stride: int) -> None:
        super().__init__()
        after = 4 * inner
        self.conv1, self.bn1 = nn.Conv2d(before, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, after, 1, bias=False), nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if before != after or stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, seen: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(seen)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + self.downsample(seen))


class ResNet152(nn.Module):
    """The network with torchvision's parameter names; the classifier is held, since the file has it, and not used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)
        before = 64
        for number, blocks in enumerate(BLOCKS):
            inner, stride = 64 << number, 1 if number == 0 else 2
            first = Bottleneck(before, inner, stride)
            before = 4 * inner
            rest = (Bottleneck(before, inner, 1) for _ in range(blocks - 1))
            setattr(self, f"layer{number + 1}", nn.Sequential(first, *rest))
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, pictures: Float[Tensor, "picture 3 height width"]) -> Float[Tensor, "picture 2048"]:
        """What the classifier would see: the last layer's values averaged over the picture."""
        seen = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        for number in range(len(BLOCKS)):
            seen = getattr(self, f"layer{number + 1}")(seen)
        return seen.mean(dim=(2, 3))


def describe(settings: RecipeSettings) -> tuple[Feature, ...]:
    """The feature; the published weights' has no variant, like LLP's packed ones."""
    found = told(PUBLISHED, settings.weights)
    source = f"ResNet-152, {images_of(settings)} averaged, shorter side 256, middle 224 × 224, {found}"
    return (Feature("resnet152", WIDTH, variant_of_images(settings, found), source),)


def load(settings: RecipeSettings, device: torch.device, rows: int) -> tuple[Frames, ...]:
    """The network on its device."""
    (feature,) = describe(settings)
    module = Normalised(read(PUBLISHED, settings.weights, ResNet152), MEAN, DEVIATION)
    return (Frames(feature, PICTURE, module, device, rows, settings.images_per_second),)
