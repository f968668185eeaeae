"""A checkpoint is whole, checked before it is believed, and passed over when it is not good."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from launch.refusal import Refusal
from launch.world import World
from pretrain.checkpoint import Checkpoints, CheckpointSettings
from pretrain.engine.engine import Engine


class Counter(Engine):
    """An engine whose state is one number."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def save(self, folder: Path) -> None:
        (folder / "engine").mkdir()
        (folder / "engine" / "state.pt").write_text(str(self.number))

    def load(self, folder: Path) -> None:
        self.number = int((folder / "engine" / "state.pt").read_text())


def checkpoints(folder: Path, world: World, **identity: Any) -> Checkpoints:
    return Checkpoints(folder, CheckpointSettings(every=5, keep=2), world, {"manifest": "abc", **identity})


@pytest.fixture
def saved(tmp_path: Path, alone: World) -> Path:
    for done in (5, 10, 15):
        checkpoints(tmp_path, alone).save(Counter(done), done)
    return tmp_path


def resumed(folder: Path, world: World) -> tuple[int, int]:
    engine = Counter()
    return checkpoints(folder, world).resume(engine), engine.number


def test_without_a_checkpoint_a_run_starts_at_its_first_step(tmp_path: Path, alone: World) -> None:
    assert resumed(tmp_path / "nothing", alone) == (0, 0)


def test_the_newest_is_loaded_and_only_the_last_ones_are_kept(saved: Path, alone: World) -> None:
    assert resumed(saved, alone) == (15, 15)
    names = {path.name for path in saved.iterdir()}
    assert names == {"step-00000010", "step-00000015", "latest"}
    assert (saved / "latest").read_text() == "step-00000015"


def test_a_checkpoint_is_due_every_few_steps(tmp_path: Path, alone: World) -> None:
    assert [done for done in range(1, 17) if checkpoints(tmp_path, alone).due(done)] == [5, 10, 15]


def _alter(folder: Path) -> None:
    (folder / "engine" / "state.pt").write_text("99")


def _cut_the_list(folder: Path) -> None:
    (folder / "files.json").write_text((folder / "files.json").read_text()[:20])


def _lose_a_file(folder: Path) -> None:
    (folder / "rng-0.safetensors").unlink()


def _add_a_file(folder: Path) -> None:
    (folder / "engine" / "more.pt").write_text("x")


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (_alter, "'engine/state.pt' is not as it was written"),
        (_cut_the_list, "its list files.json is missing or damaged"),
        (_lose_a_file, "'rng-0.safetensors' is missing"),
        (_add_a_file, "'engine/more.pt' is not in its list"),
    ],
)
def test_a_torn_or_altered_checkpoint_is_passed_over_with_a_sentence(
    saved: Path, alone: World, capsys: pytest.CaptureFixture[str], harm: Callable[[Path], None], fault: str
) -> None:
    harm(saved / "step-00000015")
    assert resumed(saved, alone) == (10, 10)
    assert f"Passed over the checkpoint '{saved / 'step-00000015'}': {fault}." in capsys.readouterr().out


def test_a_torn_checkpoint_pushes_no_good_one_out(saved: Path, alone: World) -> None:
    _alter(saved / "step-00000015")
    run, engine = checkpoints(saved, alone), Counter()
    assert run.resume(engine) == 10
    assert (saved / "latest").read_text() == "step-00000010"
    run.save(Counter(12), 12)
    assert {path.name for path in saved.glob("*-*")} == {"step-00000010", "step-00000012", "passed-over-00000015"}
    _alter(saved / "step-00000012")
    assert resumed(saved, alone) == (10, 10)


def test_where_every_checkpoint_is_torn_a_run_starts_anew_and_keeps_its_own(saved: Path, alone: World) -> None:
    for torn in saved.glob("step-*"):
        _alter(torn)
    assert resumed(saved, alone) == (0, 0)
    for done in (5, 10):
        checkpoints(saved, alone).save(Counter(done), done)
    assert {path.name for path in saved.glob("step-*")} == {"step-00000005", "step-00000010"}
    assert resumed(saved, alone) == (10, 10)


def test_a_checkpoint_that_is_whole_counts_even_if_the_run_died_before_it_was_pointed_at(
    saved: Path, alone: World
) -> None:
    (saved / "latest").write_text("step-00000010")
    assert resumed(saved, alone) == (15, 15)


def test_what_a_killed_save_left_is_cleared_away(saved: Path, alone: World) -> None:
    (saved / ".step-00000020.part" / "engine").mkdir(parents=True)
    assert resumed(saved, alone) == (15, 15)
    assert not list(saved.glob(".*"))


def test_cleared_checkpoints_are_gone(saved: Path, alone: World) -> None:
    checkpoints(saved, alone).clear()
    assert resumed(saved, alone) == (0, 0)


def test_a_lost_pointer_is_no_harm(saved: Path, alone: World) -> None:
    (saved / "latest").unlink()
    assert resumed(saved, alone) == (15, 15)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"manifest": "xyz"}, r"'manifest' is 'abc' in .* and 'xyz' now: restore --shards,"),
        ({"steps": 60}, r"'steps' is None in .* and 60 now: restore --epochs or --steps,"),
        ({"model": {"width": 8}}, r"'model' is None in .* and \{'width': 8\} now: restore --model,"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_the_setting_that_differs(
    saved: Path, alone: World, changed: dict[str, Any], sentence: str
) -> None:
    _alter(saved / "step-00000015")
    with pytest.raises(Refusal, match=sentence):
        checkpoints(saved, alone, **changed).resume(Counter())
    assert (saved / "step-00000015").exists(), "a run that is refused touches nothing"


def test_a_difference_inside_a_table_of_settings_is_named_in_full(tmp_path: Path, alone: World) -> None:
    checkpoints(tmp_path, alone, engine={"clip": 1.0, "warm_up": 5}).save(Counter(1), 5)
    with pytest.raises(Refusal, match=r"'engine.warm_up' is 5 in .* and 7 now: restore --engine.warm_up, give another"):
        checkpoints(tmp_path, alone, engine={"clip": 1.0, "warm_up": 7}).resume(Counter())


def test_a_checkpoint_of_another_number_of_processes_is_refused(saved: Path, alone: World) -> None:
    state = saved / "step-00000015" / "state.json"
    assert json.loads(state.read_text())["identity"]["processes"] == 1
    of_four = World(0, 4, 0, alone.device, alone.seed)
    with pytest.raises(Refusal, match=r"'processes' is 1 in .* and 4 now: restore --job.processes"):
        checkpoints(saved, of_four).resume(Counter())


def test_random_numbers_go_on_where_they_stopped(tmp_path: Path, alone: World) -> None:
    checkpoints(tmp_path, alone).save(Counter(1), 5)
    expected = torch.rand(4)
    torch.manual_seed(99)
    resumed(tmp_path, alone)
    assert torch.equal(torch.rand(4), expected)
