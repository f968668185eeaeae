"""An engine that stops and goes on ends as if it had never stopped; any number of ranks reads what any other wrote."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from launch.world import World
from pretrain.engine.settings import EngineSettings
from tests.distributed.state_worker import RUNS, STOP, engine_of, state

WORKER = Path(__file__).with_name("state_worker.py")
READS = {1: None, 2: 1, 4: 2}
"""Number of ranks → whose state it reads besides its own. What two wrote is read by this process alone, too."""
CASES = [f"{stage}-{precision}" for stage, precision in RUNS]


@pytest.fixture(scope="module")
def folder(start_ranks, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("state")
    for size, other in READS.items():
        start_ranks(size, WORKER, folder, *([str(other)] if other else []))
    world = World.from_environment(seed=0)
    for stage, precision in RUNS:
        alone = engine_of(EngineSettings(zero_stage=stage, precision=precision), world, 6)
        alone.load(folder / f"2-{stage}-{precision}")
        alone.save(folder / f"alone-{stage}-{precision}" / "again")
    return folder


@pytest.mark.parametrize("size", READS)
@pytest.mark.parametrize("case", CASES)
def test_an_engine_that_stopped_ends_bit_for_bit_like_one_that_did_not(folder: Path, size: int, case: str) -> None:
    ends = load_file(folder / f"{size}-{case}" / "ends.safetensors")
    names = [name.removeprefix("whole/") for name in ends if name.startswith("whole/")]
    assert names
    assert all(torch.equal(ends[f"whole/{name}"], ends[f"parts/{name}"]) for name in names)


@pytest.mark.parametrize(("reader", "writer"), [("2", "1"), ("4", "2"), ("alone", "2")])
@pytest.mark.parametrize("case", CASES)
def test_what_some_ranks_wrote_others_hold_bit_for_bit(folder: Path, reader: str, writer: str, case: str) -> None:
    written, held = state(folder / f"{writer}-{case}"), state(folder / f"{reader}-{case}" / "again")
    assert set(written) == set(held)
    assert all(torch.equal(held[name], written[name]) for name in written)


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_is_written_once_and_whole_with_both_moments(folder: Path, case: str) -> None:
    ends = load_file(folder / f"4-{case}" / "ends.safetensors")
    shapes = {name.removeprefix("whole/"): value.shape for name, value in ends.items() if name.startswith("whole/")}
    files = sorted((folder / f"4-{case}" / "engine").iterdir())
    assert [file.name for file in files] == [f"0000{rank}.safetensors" for rank in range(4)]
    held = [name for file in files for name in load_file(file)]
    assert sorted(held) == sorted(f"{name}/{kind}" for name in shapes for kind in ("weight", "exp_avg", "exp_avg_sq"))
    for name, tensor in state(folder / f"4-{case}").items():
        assert (tensor.dtype, tensor.shape) == (torch.float32, shapes[name.rsplit("/", 1)[0]])
        assert tensor.any()
    with safe_open(files[0], "pt") as first:
        assert first.metadata() == {"step": str(STOP)}


def test_ranks_share_the_writing_by_bytes(folder: Path) -> None:
    sizes = [file.stat().st_size for file in (folder / "2-1-fp32" / "engine").iterdir()]
    assert max(sizes) < 1.1 * min(sizes)
