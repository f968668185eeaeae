"""R(2+1)D-18: the published names and shapes, and that it sees motion."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from shards.extract.networks import FeatureNetwork
from shards.extract.networks.r2plus1d_18 import PICTURE, PUBLISHED, R2Plus1D18
from shards.extract.networks.weights import WeightSettings, read
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


def computed(state: dict[str, Tensor], seen: Tensor) -> Tensor:
    """What the network says, one operation at a time, by the table of the paper."""

    def normed(seen: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{part}"][:, None, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (seen - mean) / torch.sqrt(variance + 1e-5) * weight + bias

    def apart(seen: Tensor, name: str, stride: int) -> Tensor:
        seen = F.conv3d(seen, state[f"{name}.0.weight"], stride=(1, stride, stride), padding=(0, 1, 1))
        return F.conv3d(
            F.relu(normed(seen, f"{name}.1")), state[f"{name}.3.weight"], stride=(stride, 1, 1), padding=(1, 0, 0)
        )

    seen = F.relu(normed(F.conv3d(seen, state["stem.0.weight"], stride=(1, 2, 2), padding=(0, 3, 3)), "stem.1"))
    seen = F.relu(normed(F.conv3d(seen, state["stem.3.weight"], padding=(1, 0, 0)), "stem.4"))
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            branch = F.relu(normed(apart(seen, f"{name}.conv1.0", stride), f"{name}.conv1.1"))
            branch = normed(apart(branch, f"{name}.conv2.0", 1), f"{name}.conv2.1")
            if stride == 2:
                down = F.conv3d(seen, state[f"{name}.downsample.0.weight"], stride=2)
                seen = normed(down, f"{name}.downsample.1")
            seen = F.relu(branch + seen)
    return seen.mean(dim=(2, 3, 4))


def test_it_computes_what_its_weights_say(nothing_learned: WeightSettings) -> None:
    network = read(PUBLISHED, nothing_learned, R2Plus1D18).eval()
    dice = torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():
        if tensor.dim() == 1:
            tensor.copy_(tensor * 0.8 + 0.2 * torch.rand(tensor.shape, generator=dice))
    stacks = torch.randn(1, 3, 8, 40, 40, generator=dice)
    with torch.inference_mode():
        expected = computed(network.state_dict(), stacks)
        torch.testing.assert_close(network(stacks), expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_pictures_are_scaled_by_kinetics_colours(
    llp_networks: dict[str, FeatureNetwork], nothing_learned: WeightSettings
) -> None:
    frames = blobs(np.random.default_rng(0), 8, 64)
    mean, deviation = np.array([0.43216, 0.394666, 0.37645]), np.array([0.22803, 0.22145, 0.216989])
    scaled = torch.from_numpy(((frames / 255 - mean) / deviation).astype(np.float32))
    network = read(PUBLISHED, nothing_learned, R2Plus1D18).eval()
    with torch.inference_mode():
        expected = network(scaled.permute(3, 0, 1, 2)[None]).numpy()
    rows = llp_networks["r2plus1d_18"].rows(seen(frames, PICTURE))
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_eight_pictures_of_112_end_as_one_of_seven_in_time_and_space() -> None:
    with torch.device("meta"):
        network, stack = R2Plus1D18(), torch.zeros(2, 3, 8, 112, 112)
        last = network.layer4(network.layer3(network.layer2(network.layer1(network.stem(stack)))))
        assert last.shape == (2, 512, 1, 7, 7)
        assert network(stack).shape == (2, 512)


def test_it_sees_in_which_order_frames_come(llp_networks: dict[str, FeatureNetwork]) -> None:
    network = llp_networks["r2plus1d_18"]
    frames = blobs(np.random.default_rng(0), 8, 64)
    forwards, backwards = network.rows(seen(frames, PICTURE)), network.rows(seen(frames[::-1], PICTURE))
    assert forwards.shape == (1, 512)
    assert 0.05 < forwards.std() < 50
    assert np.abs(forwards - backwards).max() > 0.05 * forwards.std()
