"""Through DeepSpeed, at every ZeRO stage, on any ranks, at once or in parts, training is what plain torch does."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.engine.settings import learning_rate
from pretrain.loss.contrast import contrast
from pretrain.model import Transformer
from tests.distributed.engine_worker import DROPPED, EXACT, LENGTHS, ROUNDED, WIDTHS, Way, config

WORKER = Path(__file__).with_name("engine_worker.py")


@pytest.fixture(scope="module")
def folder(start_ranks, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    """Where the worker's results lie, beside the case it was given."""
    folder = tmp_path_factory.mktemp("engine")
    draw = torch.Generator().manual_seed(5)
    shape = len(LENGTHS), max(LENGTHS), 10
    case = {name: torch.randn(*shape, width, generator=draw) for name, width in WIDTHS.items()}
    case["ids"] = torch.randint(4, (*shape, 1), generator=draw)
    save_file(case, folder / "case.safetensors")
    for size in (1, 2):
        start_ranks(size, WORKER, folder / "case.safetensors", folder)
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> dict[str, Tensor]:
    """The same steps in plain torch, in float64: losses, gradient norms and final weights."""
    data, settings = load_file(folder / "case.safetensors"), config(Way(0))
    torch.manual_seed(3)
    encoder = Transformer(settings.model, WIDTHS).double()
    optimizer = torch.optim.AdamW(encoder.parameters(), weight_decay=settings.engine.weight_decay)
    losses, norms = [], []
    for step, videos in enumerate(LENGTHS):
        audio, visual = encoder({name: data[name][step, :videos] for name in WIDTHS})
        rows = [normalize(each.flatten(0, 1), dim=-1) for each in (audio, visual)]
        loss = contrast(rows[0], rows[1], data["ids"][step, :videos].flatten(0, 1), settings.loss).loss
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(encoder.parameters(), settings.engine.clip)))
        optimizer.param_groups[0]["lr"] = learning_rate(step, len(LENGTHS), settings.engine)
        optimizer.step()
        losses.append(float(loss.detach()))
    told = {"loss": torch.tensor(losses), "gradient_norm": torch.tensor(norms)}
    return {name: value.detach().float() for name, value in encoder.state_dict().items()} | told


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("way", EXACT, ids=str)
def test_losses_gradients_and_weights_are_those_of_plain_torch(
    folder: Path, plain: dict[str, Tensor], size: int, way: Way
) -> None:
    found = load_file(folder / way.file(size))
    assert set(found) == set(plain)
    for name, expected in plain.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("way", ROUNDED, ids=str)
def test_bf16_follows_plain_torch_to_its_own_rounding(
    folder: Path, plain: dict[str, Tensor], size: int, way: Way
) -> None:
    found = load_file(folder / way.file(size))
    torch.testing.assert_close(found["loss"], plain["loss"], rtol=0.02, atol=0.01)
    torch.testing.assert_close(found["gradient_norm"], plain["gradient_norm"], rtol=0.05, atol=0.01)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("way", DROPPED, ids=str)
def test_dropout_is_the_same_on_any_ranks_at_any_stage_and_when_layers_are_computed_again(
    folder: Path, plain: dict[str, Tensor], size: int, way: Way
) -> None:
    found, expected = (load_file(folder / each.file(ranks)) for each, ranks in ((way, size), (DROPPED[0], 1)))
    assert not torch.allclose(found["loss"], plain["loss"], rtol=1e-3)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=2e-5)
