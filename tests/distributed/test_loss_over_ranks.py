"""The loss of several processes is the loss of one on the same global batch, and so are all gradients."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

WORKER = Path(__file__).with_name("loss_worker.py")
COUNT = 29
SLICES = {1: "0,29", 2: "0,8,29", 3: "0,13,13,29", 4: "0,1,9,20,29"}
"""Uneven, and with three ranks one that holds nothing."""
Found = dict[int, dict[str, Tensor]]


@pytest.fixture(scope="module")
def found(start_ranks, tmp_path_factory: pytest.TempPathFactory) -> Found:  # type: ignore[no-untyped-def]
    """For each world size: losses and numbers of every rank stacked, gradients of all rows in order."""
    folder = tmp_path_factory.mktemp("loss")
    draw = torch.Generator().manual_seed(1)
    audio, visual = normalize(torch.randn(2, COUNT, 6, generator=draw).double() + 0.4, dim=-1)
    case = {"audio": audio.contiguous(), "visual": visual.contiguous()}
    case["ids"] = torch.randint(5, (COUNT, 2), generator=draw)
    case["present"] = torch.rand(COUNT, 2, generator=draw) < 0.8
    widths = {"vggish": 5, "resnet152": 7, "r2plus1d_18": 3}
    case |= {name: torch.randn(5, 10, width, generator=draw).double() for name, width in widths.items()}
    case["video_ids"] = torch.randint(4, (5, 10, 2), generator=draw)
    save_file(case, folder / "case.safetensors")
    for size, bounds in SLICES.items():
        start_ranks(size, WORKER, folder / "case.safetensors", folder, bounds)
    return {size: _joined(folder, size) for size in SLICES}


def _joined(folder: Path, size: int) -> dict[str, Tensor]:
    ranks = [load_file(folder / f"{size}-{rank}.safetensors") for rank in range(size)]
    rows = ("-audio", "-visual")
    return {
        name: torch.cat([rank[name] for rank in ranks])
        if name.endswith(rows)
        else torch.stack([r[name] for r in ranks])
        for name in ranks[0]
    }


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_rank_returns_the_loss_and_the_numbers_of_one_process(found: Found, size: int) -> None:
    for name, expected in found[1].items():
        if name.endswith(("-loss", "-numbers")):
            assert len(found[size][name]) == size
            torch.testing.assert_close(found[size][name], expected.expand_as(found[size][name]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_row_gets_the_gradient_it_gets_in_one_process(found: Found, size: int) -> None:
    for name, expected in found[1].items():
        if name.endswith(("-audio", "-visual")):
            assert expected.shape == (COUNT, 6)
            torch.testing.assert_close(found[size][name], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_round_a_ring_is_gathered(found: Found, size: int) -> None:
    gathered = [name for name in found[size] if "-gather-" in name]
    assert len(gathered) == 3 * 4 * 2 * 4, "modes, reductions, ways, results"
    for name in gathered:
        torch.testing.assert_close(
            found[size][name.replace("-gather-", "-ring-")], found[size][name], rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("size", [2, 3, 4])
def test_what_fits_is_gathered_and_what_does_not_goes_round_a_ring(found: Found, size: int) -> None:
    assert found[size]["blocks-1"].tolist() == [2] * size, "this rank's rows and all others'"
    assert found[size]["blocks-0"].tolist() == [size] * size, "one rank's after the other's"


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("exchange", ["gather", "ring", "auto"])
def test_a_row_that_is_not_a_number_on_one_rank_reaches_every_ranks_loss(
    found: Found, size: int, exchange: str
) -> None:
    assert found[size][f"spoilt-{exchange}"].tolist() == pytest.approx([math.nan] * size, nan_ok=True)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_where_no_rank_has_a_snippet_the_loss_is_0(found: Found, size: int) -> None:
    assert not found[size]["empty"].any()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_summed_over_ranks_the_encoder_gets_the_gradient_of_one_process(found: Found, size: int) -> None:
    names = [name for name in found[1] if name.startswith("encoder-")]
    assert names
    for name in names:
        expected = found[1][name].expand_as(found[size][name])
        torch.testing.assert_close(found[size][name], expected, rtol=1e-11, atol=1e-12)
