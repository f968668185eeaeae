"""R(2+1)D-18: the published names and shapes, and that it sees motion."""

from itertools import pairwise

import numpy as np
import torch

from shards.extract.networks import FeatureNetwork
from shards.extract.networks.r2plus1d_18 import PICTURE, R2Plus1D18
from tests.shards.extract.networks.clips import blobs, norm, seen, shapes_of, size_of

INNER = {(64, 64): 144, (64, 128): 230, (128, 128): 288, (128, 256): 460, (256, 256): 576, (256, 512): 921,
         (512, 512): 1152}  # fmt: skip
"""Channels before and after a block → those between its convolutions over picture and time."""


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes by the architecture's table."""
    shapes: dict[str, tuple[int, ...]] = {"stem.0.weight": (45, 3, 1, 7, 7), **norm("stem.1", 45)}
    shapes |= {"stem.3.weight": (64, 45, 3, 1, 1), **norm("stem.4", 64)}
    widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    for number, (before, after) in enumerate(pairwise(widths)):
        name, inner = f"layer{number // 2 + 1}.{number % 2}", INNER[before, after]
        for convolution, first in (("conv1", before), ("conv2", after)):
            shapes |= {f"{name}.{convolution}.0.0.weight": (inner, first, 1, 3, 3)}
            shapes |= norm(f"{name}.{convolution}.0.1", inner)
            shapes |= {f"{name}.{convolution}.0.3.weight": (after, inner, 3, 1, 1)}
            shapes |= norm(f"{name}.{convolution}.1", after)
        if before != after:
            shapes |= {f"{name}.downsample.0.weight": (after, before, 1, 1, 1), **norm(f"{name}.downsample.1", after)}
    return shapes | {"fc.weight": (400, 512), "fc.bias": (400,)}


def test_its_parameters_have_the_published_names_and_shapes() -> None:
    assert shapes_of(R2Plus1D18) == published()
    assert size_of(R2Plus1D18) == 31_505_325


def test_eight_pictures_of_112_end_as_one_of_seven_in_time_and_space() -> None:
    with torch.device("meta"):
        network, stack = R2Plus1D18(), torch.zeros(2, 3, 8, 112, 112)
        last = network.layer4(network.layer3(network.layer2(network.layer1(network.stem(stack)))))
        assert last.shape == (2, 512, 1, 7, 7)
        assert network(stack).shape == (2, 512)


def test_it_sees_in_which_order_frames_come(llp_networks: dict[str, FeatureNetwork]) -> None:
    network = llp_networks["r2plus1d_18"]
    frames = blobs(np.random.default_rng(0), 8, PICTURE.size)
    forwards, backwards = network.rows(seen(frames, PICTURE)), network.rows(seen(frames[::-1], PICTURE))
    assert forwards.shape == (1, 512)
    assert 0.05 < forwards.std() < 50
    assert np.abs(forwards - backwards).max() > 0.05 * forwards.std()
