"""The Triton kernel is `hinges.both_kinds`, bit for bit in W and to float32 rounding in the sums.

Where there is no GPU it runs in Triton's interpreter, if that is installed: the CPU build of torch does not bring it.
"""

import os
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.loss import contrast as contrasting
from pretrain.loss.contrast import LossSettings, contrast
from pretrain.loss.hinges import COSINES, NEGATIVE_HINGES, POSITIVE_HINGES, Listed, Margins, as_floats, both_kinds, same

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if find_spec("triton") is None:
    pytest.skip("needs Triton, which the CPU build of torch does not bring", allow_module_level=True)
if DEVICE == "cpu":
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported, and at every call

from pretrain.loss.kernels import in_bfloat16, weigh  # noqa: E402


@pytest.mark.parametrize("size", [(1, 1), (64, 128), (70, 300)])
@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("ratio", [None, 0.5, 3.0])
def test_the_kernel_weighs_every_pair_as_the_pure_torch_path_does(
    size: tuple[int, int], ways: int, itself: bool, ratio: float | None
) -> None:
    draw = torch.Generator().manual_seed(0)
    rows, columns = (size[0], size[0]) if itself else size
    left, right = normalize(torch.randn(2, max(size), 8, generator=draw) + 0.3, dim=-1)
    ids = torch.randint(9, (2, max(size), ways), generator=draw)
    right, ids[1] = (left, ids[0]) if itself else (right, ids[1].clone())
    scores = (left[:rows] @ right[:columns].T).to(DEVICE)
    queries, keys = ids[0, :rows].to(DEVICE), ids[1, :columns].to(DEVICE)
    each = torch.arange(rows, device=DEVICE)
    margins = Margins(0.9, 0.3, ratio)
    expected, found = (torch.zeros(6, dtype=torch.float64, device=DEVICE) for _ in range(2))
    over, under, unit = weigh(scores, queries, keys, itself, margins, found)
    positive = same(as_floats(queries, scores), as_floats(keys, scores))
    high, low = both_kinds(scores, positive, Listed(each, each) if itself else None, margins, expected)
    if ratio is None:
        assert under is not None
        assert torch.equal(under.float(), low)
        assert torch.equal(over.float(), high)
    else:
        assert under is None
        torch.testing.assert_close(unit * over.float(), high - ratio * low, rtol=1e-6, atol=0)
    assert found[COSINES] == 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert size == (1, 1) or bool((expected[:COSINES] > 0).all())


@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_a_score_that_is_not_a_number_reaches_the_hinges_of_its_kind(kind: str) -> None:
    ids = torch.zeros(4, 1, dtype=torch.int64) if kind == "positive" else torch.arange(4)[:, None]
    scores = torch.full((4, 4), 0.5, device=DEVICE)
    scores[1, 2] = torch.nan
    sums = torch.zeros(6, dtype=torch.float64, device=DEVICE)
    weigh(scores, ids.to(DEVICE), ids.to(DEVICE), True, Margins(0.9, 0.3, 1.0), sums)
    assert bool(sums[POSITIVE_HINGES if kind == "positive" else NEGATIVE_HINGES].isnan())


def test_the_weights_are_numbers_of_bfloat16_and_their_ratio_is_the_one_asked_for() -> None:
    draw = torch.Generator().manual_seed(0)
    errors = []
    for ratio in torch.empty(500).uniform_(-8, 14, generator=draw).exp().tolist():
        weights = in_bfloat16(ratio)
        assert torch.tensor(weights).bfloat16().tolist() == list(weights)
        errors.append(abs(weights[1] / weights[0] / ratio - 1))
    assert max(errors) <= 2**-9
    assert sum(errors) / 500 < 1e-4


@pytest.fixture
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none: rows are rounded as if there were, and products of bfloat16 are summed in float32."""
    if DEVICE == "cuda":
        return
    multiplied, product = contrasting._multiplied, torch.mm

    def mm(left: Tensor, right: Tensor, out_dtype: torch.dtype) -> Tensor:
        return product(left.to(out_dtype), right.to(out_dtype))

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(
        contrasting, "_multiplied", lambda rows, how: rows.bfloat16() if how == "auto" else multiplied(rows, how)
    )


def both_ways(rows: Tensor, ids: Tensor, told: dict[str, str]) -> list[tuple[Tensor, Tensor]]:
    """Loss and gradient with the kernel and with full products."""
    found = []
    for products in ("auto", "full"):
        settings = LossSettings.model_validate(told | {"products": products, "tile": 70})
        loss = contrast(rows[0], rows[1], ids, settings).loss
        found.append((loss.detach(), torch.autograd.grad(loss, rows)[0]))
    return found


@pytest.mark.usefixtures("_as_on_a_gpu")
@pytest.mark.parametrize("mode", ["uni", "cross", "multi"])
@pytest.mark.parametrize("reduction", ["balanced", "mean", "sum", "active"])
@pytest.mark.parametrize("ways", [1, 2])
def test_the_loss_by_kernel_differs_by_what_bfloat16_rounds(mode: str, reduction: str, ways: int) -> None:
    draw = torch.Generator().manual_seed(0)
    exact = normalize(torch.randn(2, 100, 16, generator=draw) + 0.3, dim=-1).to(DEVICE).requires_grad_()
    ids, told = torch.randint(40, (100, ways), generator=draw).to(DEVICE), {"mode": mode, "reduction": reduction}
    rounded = exact.detach().bfloat16().float().requires_grad_()
    (loss, gradient), (expected, slope) = both_ways(rounded, ids, told)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert float((gradient - slope).norm()) <= 2**-8 * float(slope.norm())
    if reduction in ("balanced", "mean"):
        (loss, _), (expected, _) = both_ways(exact, ids, told)
        assert 0 < abs(float(loss - expected)) <= 2**-7
