"""Through DeepSpeed, at every ZeRO stage and on one or two processes, training is what plain torch does on one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.loss.contrast import LossSettings, contrast
from pretrain.model import ModelSettings, Transformer

WORKER = Path(__file__).with_name("engine_worker.py")
WIDTHS = {"vggish": 5, "resnet152": 7, "r2plus1d_18": 3}
STEPS, VIDEOS = 4, 5


@pytest.fixture(scope="module")
def folder(start_ranks, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    """Where the worker's results lie, beside the case it was given."""
    folder = tmp_path_factory.mktemp("engine")
    draw = torch.Generator().manual_seed(5)
    case = {name: torch.randn(STEPS, VIDEOS, 10, width, generator=draw) for name, width in WIDTHS.items()}
    case["ids"] = torch.randint(4, (STEPS, VIDEOS, 10, 1), generator=draw)
    save_file(case, folder / "case.safetensors")
    for size in (1, 2):
        start_ranks(size, WORKER, folder / "case.safetensors", folder)
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> dict[str, Tensor]:
    """The same steps in plain torch, in float64: losses and final weights."""
    data = load_file(folder / "case.safetensors")
    torch.manual_seed(3)
    encoder = Transformer(ModelSettings(layers=2, width=16, heads=2, dropout=0), WIDTHS).double()
    optimizer = torch.optim.AdamW(encoder.parameters(), weight_decay=0.01)
    losses = []
    for number in range(STEPS):
        audio, visual = encoder({name: data[name][number] for name in WIDTHS})
        rows = [normalize(each.flatten(0, 1), dim=-1) for each in (audio, visual)]
        loss = contrast(rows[0], rows[1], data["ids"][number].flatten(0, 1), LossSettings()).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 0.5)
        optimizer.param_groups[0]["lr"] = 1e-3 * (number + 1)
        optimizer.step()
        losses.append(float(loss.detach()))
    return {name: value.detach() for name, value in encoder.state_dict().items()} | {"losses": torch.tensor(losses)}


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_losses_and_weights_are_those_of_plain_torch(
    folder: Path, plain: dict[str, Tensor], size: int, stage: int
) -> None:
    found = load_file(folder / f"{size}-{stage}-fp32.safetensors")
    assert set(found) == set(plain)
    for name, expected in plain.items():
        torch.testing.assert_close(found[name], expected.to(found[name].dtype), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("stage", [1, 3])
def test_bf16_follows_plain_torch_to_its_own_rounding(
    folder: Path, plain: dict[str, Tensor], size: int, stage: int
) -> None:
    found = load_file(folder / f"{size}-{stage}-bf16.safetensors")
    torch.testing.assert_close(found["losses"], plain["losses"].float(), rtol=0.02, atol=0.01)
