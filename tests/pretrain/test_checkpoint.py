"""A checkpoint is whole, checked before it is believed, and passed over when it is not good."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from launch.refusal import Refusal
from launch.world import World
from pretrain.checkpoint import Checkpoints, CheckpointSettings
from pretrain.engine.engine import Engine
from pretrain.sealed import seal
from tests.disks import fill


class Counter(Engine):
    """An engine whose state is one number."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def save(self, folder: Path) -> None:
        (folder / "engine").mkdir()
        save_file({"number": torch.tensor(self.number)}, folder / "engine" / "0.safetensors")

    def load(self, folder: Path) -> None:
        self.number = int(load_file(folder / "engine" / "0.safetensors")["number"])

    def size(self) -> int:
        return 8


def checkpoints(folder: Path, world: World, **identity: Any) -> Checkpoints:
    return Checkpoints(folder, CheckpointSettings(every=5, keep=2), world, {"manifest": "abc", **identity})


@pytest.fixture
def saved(tmp_path: Path, alone: World) -> Path:
    for done in (5, 10, 15):
        checkpoints(tmp_path, alone).save(Counter(done), done)
    return tmp_path


def resumed(folder: Path, world: World) -> tuple[int, int]:
    engine, run = Counter(), checkpoints(folder, world)
    return run.resume(engine, run.newest()), engine.number


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
    with (folder / "engine" / "0.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")


def _cut_the_list(folder: Path) -> None:
    (folder / "files.json").write_text((folder / "files.json").read_text()[:20])


def _lose_a_file(folder: Path) -> None:
    (folder / "state.json").unlink()


def _add_a_file(folder: Path) -> None:
    (folder / "engine" / "more.pt").write_text("x")


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (_alter, "'engine/0.safetensors' is not as it was written"),
        (_cut_the_list, "its list files.json is missing or damaged"),
        (_lose_a_file, "'state.json' is missing"),
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
    assert run.resume(engine, run.newest()) == 10
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


def test_checkpoints_that_cannot_be_cleared_are_refused_since_they_would_be_resumed(saved: Path, alone: World) -> None:
    link = saved.with_name(f"{saved.name}-link")
    link.symlink_to(saved)  # which shutil.rmtree does not delete
    with pytest.raises(Refusal, match=r"must have no checkpoints, but those in '.*-link' could not be deleted: .*link"):
        checkpoints(link, alone).clear()
    checkpoints(saved / "nothing", alone).clear()
    assert resumed(saved, alone) == (15, 15)


def test_an_old_checkpoint_that_cannot_be_deleted_is_said_and_the_new_one_is_good(
    saved: Path, alone: World, capsys: pytest.CaptureFixture[str]
) -> None:
    old = saved / "step-00000010"
    old.rename(saved / "moved")
    old.symlink_to(saved / "moved")
    checkpoints(saved, alone).save(Counter(20), 20)
    assert f"The old checkpoint '{old}' could not be deleted: " in capsys.readouterr().out
    assert resumed(saved, alone) == (20, 20)


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
        checkpoints(saved, alone, **changed).newest()
    assert (saved / "step-00000015").exists(), "a run that is refused touches nothing"


def test_a_difference_inside_a_table_of_settings_is_named_in_full(tmp_path: Path, alone: World) -> None:
    checkpoints(tmp_path, alone, engine={"clip": 1.0, "warm_up": 5}).save(Counter(1), 5)
    with pytest.raises(Refusal, match=r"'engine.warm_up' is 5 in .* and 7 now: restore --engine.warm_up, give another"):
        checkpoints(tmp_path, alone, engine={"clip": 1.0, "warm_up": 7}).newest()


def test_another_number_of_processes_goes_on_and_says_so(
    saved: Path, alone: World, capsys: pytest.CaptureFixture[str]
) -> None:
    run = checkpoints(saved, alone)
    found = run.newest()
    assert found is not None
    assert run.resume(Counter(), replace(found, processes=4)) == 15
    assert "step-00000015', which 4 processes wrote." in capsys.readouterr().out


def test_what_is_found_names_the_run_that_wrote_it(tmp_path: Path, alone: World) -> None:
    checkpoints(tmp_path, alone).save(Counter(5), 5, run="c0ffee")
    found = checkpoints(tmp_path, alone).newest()
    assert found is not None
    assert (found.done, found.run, found.processes) == (5, "c0ffee", 1)


def test_the_best_is_kept_however_old_and_ties_fall_to_the_older(tmp_path: Path, alone: World) -> None:
    scores = {5: 0.25, 10: 0.5, 15: float("nan"), 20: 0.5, 25: None, 30: -1.0}
    for done, score in scores.items():
        checkpoints(tmp_path, alone).save(Counter(done), done, score=score)
    assert {path.name for path in tmp_path.glob("step-*")} == {"step-00000010", "step-00000025", "step-00000030"}
    assert (tmp_path / "best").read_text() == "step-00000010"
    assert (tmp_path / "latest").read_text() == "step-00000030"


def test_a_best_that_was_not_good_gives_its_place_to_the_next(tmp_path: Path, alone: World) -> None:
    for done, score in ((5, 0.25), (10, 0.5)):
        checkpoints(tmp_path, alone).save(Counter(done), done, score=score)
    _alter(tmp_path / "step-00000010")
    assert resumed(tmp_path, alone) == (5, 5)
    assert (tmp_path / "best").read_text() == "step-00000005"


def test_without_a_score_there_is_no_best(saved: Path) -> None:
    assert not (saved / "best").exists()


def test_a_checkpoint_with_pickles_of_an_earlier_version_is_refused_unread(tmp_path: Path, alone: World) -> None:
    folder = tmp_path / "step-00000005"
    (folder / "engine").mkdir(parents=True)
    (folder / "engine" / "mp_rank_00_model_states.pt").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    (folder / "state.json").write_text(json.dumps({"done": 5, "identity": {"manifest": "abc", "processes": 1}}))
    seal(folder)
    with pytest.raises(Refusal, match=r"as safetensors \(format 2\), but '.*step-00000005' is of another version"):
        checkpoints(tmp_path, alone).newest()


def test_a_full_disk_is_a_sentence_and_the_checkpoint_before_stays_good(
    small_disk: Callable[[int], Path], alone: World
) -> None:
    class Large(Counter):
        def save(self, folder: Path) -> None:
            (folder / "engine").mkdir()
            numbers = torch.full((self.size() // 8,), self.number)
            save_file({"number": numbers}, folder / "engine" / "0.safetensors")

        def load(self, folder: Path) -> None:
            self.number = int(load_file(folder / "engine" / "0.safetensors")["number"][0])

        def size(self) -> int:
            return 400 * 1024

    folder = small_disk(1100) / "out" / "checkpoints"
    sentence = rf"one in '{folder}' could not be: .*No space left.* \(it takes 400 KiB, and \d\d+ KiB are free\)"
    run = checkpoints(folder, alone)
    for done in (5, 10):
        run.save(Large(done), done)
    with pytest.raises(Refusal, match=sentence):
        run.save(Large(15), 15)
    assert {path.name for path in folder.iterdir()} == {"step-00000005", "step-00000010", "latest"}
    engine, again = Large(0), checkpoints(folder, alone)
    assert (again.resume(engine, again.newest()), engine.number) == (10, 10)


def test_a_first_checkpoint_that_finds_no_room_says_so(small_disk: Callable[[int], Path], alone: World) -> None:
    disk = small_disk(64)
    fill(disk)
    with pytest.raises(Refusal, match=r"could not be: .*No space left.* \(it takes 0 KiB, and 0 KiB are free\)"):
        checkpoints(disk / "out" / "checkpoints", alone).save(Counter(5), 5)
