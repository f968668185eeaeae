"""ResNet-152: the published names and shapes, and what random weights make of pictures."""

import numpy as np
import torch

from shards.extract.networks import FeatureNetwork
from shards.extract.networks.resnet152 import PICTURE, ResNet152
from tests.shards.extract.networks.clips import blobs, norm, seen, shapes_of, size_of


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes by the architecture's table: stages of (blocks, inner width), four times as wide after each."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    before = 64
    for stage, (blocks, inner) in enumerate([(3, 64), (8, 128), (36, 256), (3, 512)], start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            kernels = [(inner, before, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1)]
            for number, kernel in enumerate(kernels, start=1):
                shapes |= {f"{name}.conv{number}.weight": kernel, **norm(f"{name}.bn{number}", kernel[0])}
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * inner, before, 1, 1)
                shapes |= norm(f"{name}.downsample.1", 4 * inner)
            before = 4 * inner
    return shapes | {"fc.weight": (1000, 2048), "fc.bias": (1000,)}


def test_its_parameters_have_the_published_names_and_shapes() -> None:
    assert shapes_of(ResNet152) == published()
    assert size_of(ResNet152) == 60_192_808


def test_only_the_three_by_three_convolutions_of_a_later_stages_first_block_and_their_shortcuts_stride() -> None:
    with torch.device("meta"):
        network = ResNet152()
    striding = {
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Conv2d) and module.stride == (2, 2)
    }
    assert striding == {"conv1"} | {f"layer{n}.0.{c}" for n in (2, 3, 4) for c in ("conv2", "downsample.0")}


def test_different_pictures_give_different_rows_of_sane_size(llp_networks: dict[str, FeatureNetwork]) -> None:
    network = llp_networks["resnet152"]
    frames = blobs(np.random.default_rng(0), 2, PICTURE.size)
    rows = np.concatenate([network.rows(seen(frame[None].repeat(8, axis=0), PICTURE)) for frame in frames])
    assert rows.shape == (2, 2048)
    assert 0.05 < rows.std() < 50
    cosine = rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1])
    assert cosine < 0.995
