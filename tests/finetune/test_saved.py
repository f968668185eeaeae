"""A training's state comes back as it was written, or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from finetune.saved import Saved, State, flat, part
from launch.refusal import Refusal
from tests.disks import fill


def state(step: int) -> State:
    torch.manual_seed(step)
    tensors = flat(parser={"weight": torch.randn(3, 2), "count": torch.tensor(step)}, best={"weight": torch.randn(2)})
    return State(tensors, {"step": step, "rate": 0.1 * step, "best": None})


def test_the_newest_state_comes_back_bit_for_bit_and_leaves_no_other(tmp_path: Path) -> None:
    saved = Saved(tmp_path)
    assert saved.read() is None
    for step in (1, 2):
        saved.write(state(step))
    found = Saved(tmp_path).read()
    assert found is not None
    assert found.numbers == state(2).numbers
    assert found.tensors.keys() == state(2).tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in state(2).tensors.items())
    assert len(list(tmp_path.iterdir())) == 2
    saved.forget()
    assert Saved(tmp_path).read() is None


def test_parts_are_told_apart_by_name() -> None:
    tensors = state(1).tensors
    assert set(part(tensors, "parser")) == {"weight", "count"}
    assert torch.equal(part(tensors, "best")["weight"], tensors["best/weight"])


@pytest.mark.parametrize("free", [200, 8], ids=["for the tensors alone", "for half of them"])
def test_a_full_disk_is_a_sentence_and_leaves_the_state_before_it_alone(
    small_disk: Callable[[int], Path], free: int
) -> None:
    disk = small_disk(1024)
    saved, large = Saved(disk / "notes"), torch.zeros(48 * 1024)
    (disk / "notes").mkdir()
    saved.write(state(1))
    fill(disk)
    with (disk / "full").open("r+b") as file:
        file.truncate(file.seek(0, 2) - free * 1024)
    with pytest.raises(
        Refusal, match=r"must be written whole, .*notes.* \(it takes 192 KiB, and [^0].* KiB are free\)"
    ):
        saved.write(State({"large": large}, {"step": 2, "long": "x" * 100_000}))
    assert len(list((disk / "notes").iterdir())) == 2
    found = saved.read()
    assert found is not None
    assert found.numbers == state(1).numbers
    (disk / "full").unlink()
    saved.write(State({"large": large}, {"step": 2}))
    assert saved.read().numbers == {"step": 2}  # type: ignore[union-attr]


def test_a_process_killed_between_the_two_files_leaves_the_state_before_it(tmp_path: Path) -> None:
    saved, beside = Saved(tmp_path), tmp_path / "beside"
    saved.write(state(1))
    beside.mkdir()
    Saved(beside).write(state(2))
    (beside / "step-00000002.safetensors").rename(tmp_path / "step-00000002.safetensors")
    (tmp_path / ".state.json.123.part").write_text("{")
    found = saved.read()
    assert found is not None
    assert found.numbers["step"] == 1
    assert not list(tmp_path.glob(".*"))
    saved.write(state(3))
    assert len(list(tmp_path.glob("step-*"))) == 1


@pytest.mark.parametrize("name", ["state.json", "step-00000001.safetensors"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_an_altered_state_is_refused_by_the_file_it_is_in(tmp_path: Path, name: str, how: str) -> None:
    Saved(tmp_path).write(state(1))
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if how == "flipped" else content[:-9])
    if how == "gone":
        path.unlink()
    if (name, how) == ("state.json", "gone"):
        assert Saved(tmp_path).read() is None
        return
    with pytest.raises(Refusal, match=r"must go on from its state as it was written.*delete '.*starts over"):
        Saved(tmp_path).read()
