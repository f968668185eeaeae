"""On a GPU the loss and the encoder are what they are on the CPU; skipped where there is none."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.loss.contrast import LossSettings, contrast
from pretrain.model import ModelSettings, Transformer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}


def contrasted(device: str, reduction: str, ways: int) -> list[Tensor]:
    """The loss of 40 snippets, its gradients, and the numbers beside it, brought to the CPU."""
    draw = torch.Generator().manual_seed(0)
    rows = normalize(torch.randn(2, 40, 6, generator=draw).double() + 0.4, dim=-1).to(device).requires_grad_()
    ids = torch.randint(9, (40, ways), generator=draw).to(device)
    settings = LossSettings.model_validate({"reduction": reduction, "tile": 7})
    found = contrast(rows[0], rows[1], ids, settings)
    numbers = [found.positives, found.negatives, found.positive_cosine, found.negative_cosine]
    numbers += [found.active_positives, found.active_negatives]
    gradient = torch.autograd.grad(found.loss, rows)[0]
    return [found.loss.detach().cpu(), gradient.cpu(), torch.tensor(numbers, dtype=torch.float64)]


@pytest.mark.parametrize("reduction", ["balanced", "mean", "sum", "active"])
@pytest.mark.parametrize("ways", [1, 2])
def test_the_loss_its_gradient_and_its_numbers_are_those_of_the_cpu(reduction: str, ways: int) -> None:
    found, expected = contrasted("cuda", reduction, ways), contrasted("cpu", reduction, ways)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def embedded(device: str, videos: int, dtype: torch.dtype) -> Tensor:
    """Both embeddings of some videos after a forward and a backward pass, brought to the CPU."""
    torch.manual_seed(0)
    encoder = Transformer(ModelSettings(layers=2, width=16, heads=2), WIDTHS).eval().to(device, dtype)
    draw = torch.Generator().manual_seed(1)
    features = {name: torch.rand(videos, 10, width, generator=draw).half().to(device) for name, width in WIDTHS.items()}
    found = torch.stack(encoder(features))
    found.square().sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())
    return found.detach().cpu()


@pytest.mark.parametrize("videos", [5, 0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_the_encoder_gives_the_embeddings_of_the_cpu(videos: int, dtype: torch.dtype, tolerance: float) -> None:
    expected = embedded("cpu", videos, torch.float32)
    torch.testing.assert_close(embedded("cuda", videos, dtype), expected, rtol=tolerance, atol=tolerance)
