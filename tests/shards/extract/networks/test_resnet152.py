"""ResNet-152: the published names and shapes, and what random weights make of pictures."""

import re

import numpy as np
import torch
from transformers import ResNetConfig, ResNetModel

from shards.extract.networks import FeatureNetwork
from shards.extract.networks.resnet152 import PICTURE, PUBLISHED, ResNet152
from shards.extract.networks.weights import WeightSettings, read
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


def in_transformers(name: str) -> str:
    """What transformers, whose ResNet was written by others, calls one of torchvision's parameters."""
    name = re.sub(r"^conv1\.", "embedder.embedder.convolution.", name)
    name = re.sub(r"^bn1\.", "embedder.embedder.normalization.", name)
    if stage := re.match(r"layer(\d)\.(\d+)\.", name):
        inner = name.removeprefix(stage[0])
        inner = re.sub(r"^conv(\d)", lambda found: f"layer.{int(found[1]) - 1}.convolution", inner)
        inner = re.sub(r"^bn(\d)", lambda found: f"layer.{int(found[1]) - 1}.normalization", inner)
        inner = inner.replace("downsample.0", "shortcut.convolution").replace("downsample.1", "shortcut.normalization")
        name = f"encoder.stages.{int(stage[1]) - 1}.layers.{stage[2]}.{inner}"
    return name


def test_it_computes_what_another_implementation_does(nothing_learned: WeightSettings) -> None:
    network = read(PUBLISHED, nothing_learned, ResNet152).eval()
    dice = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.dim() == 1 and "bn" in name:
            tensor.copy_(tensor * 0.8 + 0.2 * torch.rand(tensor.shape, generator=dice))
    with torch.device("meta"):
        other = ResNetModel(ResNetConfig(depths=[3, 8, 36, 3], layer_type="bottleneck", downsample_in_bottleneck=False))
    state = {in_transformers(name): each for name, each in network.state_dict().items() if not name.startswith("fc.")}
    other.load_state_dict(state, assign=True)
    pictures = torch.randn(2, 3, 64, 64, generator=dice)
    with torch.inference_mode():
        expected = other.eval()(pictures).pooler_output.flatten(1)
        torch.testing.assert_close(network(pictures), expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_pictures_are_scaled_by_imagenets_colours(
    llp_networks: dict[str, FeatureNetwork], nothing_learned: WeightSettings
) -> None:
    frames = blobs(np.random.default_rng(0), 8, 64)
    scaled = (frames / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    network = read(PUBLISHED, nothing_learned, ResNet152).eval()
    with torch.inference_mode():
        expected = network(torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2)).mean(dim=0).numpy()
    rows = llp_networks["resnet152"].rows(seen(frames, PICTURE))
    np.testing.assert_allclose(rows[0], expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_different_pictures_give_different_rows_of_sane_size(llp_networks: dict[str, FeatureNetwork]) -> None:
    network = llp_networks["resnet152"]
    frames = blobs(np.random.default_rng(0), 2, 64)
    rows = np.concatenate([network.rows(seen(frame[None].repeat(8, axis=0), PICTURE)) for frame in frames])
    assert rows.shape == (2, 2048)
    assert 0.05 < rows.std() < 50
    cosine = rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1])
    assert cosine < 0.995
