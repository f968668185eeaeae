"""A pack goes on with what an earlier start left: with whole shards of the same videos, and with nothing else."""

from pathlib import Path

import numpy as np
import pytest

from launch.refusal import Refusal
from shards.labels import Tables
from shards.read import Shards
from tests.shards.at_work import contents, notes
from tests.shards.packs import SHARDS, VIDEOS, run


@pytest.fixture
def half(feats: Path, tmp_path: Path, runs: Path) -> Path:
    """The folder that a pack was to write which a bad video stopped after 14 shards; the video is whole again."""
    bad = feats / "i3d" / "video0042.npy"
    whole = bad.read_bytes()
    bad.write_bytes(b"")
    with pytest.raises(Refusal, match="video0042"):
        run(feats, tmp_path / "out", runs)
    bad.write_bytes(whole)
    assert len(notes(tmp_path / "out")) == 14
    return tmp_path / "out"


def test_going_on_may_leave_out_the_bad_video_that_stopped_it(
    feats: Path, tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(feats / "i3d" / "video0042.npy", np.full((10, 16), np.nan, np.float32))
    with pytest.raises(Refusal, match="video0042"):
        run(feats, tmp_path / "out", runs)
    run(feats, tmp_path / "out", runs, on_bad="skip")
    assert f"Took over 14 of {SHARDS} shards." in capsys.readouterr().out
    assert Shards.open(tmp_path / "out").manifest.counts == (*[3] * 14, 2, *[3] * 135)


@pytest.mark.parametrize("damage", ["tar", "index", "size", "missing", "note"])
def test_a_finished_shard_that_was_damaged_since_is_made_again(
    feats: Path, half: Path, runs: Path, undisturbed: dict[str, bytes], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tar,) = half.parent.glob(".out.part/*/result/000003.tar")
    file = {"index": tar.with_name("000003.index.safetensors"), "note": notes(half)[3]}.get(damage, tar)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content[: 100 if damage == "size" else None])
    if damage == "missing":
        file.unlink()
    if damage == "note":
        file.write_text('{"shard": {}}')
    capsys.readouterr()
    run(feats, half, runs)
    assert f"Took over 13 of {SHARDS} shards; 1 were damaged or of other inputs" in capsys.readouterr().out
    assert contents(half) == undisturbed


def test_a_shard_whose_input_changed_since_is_made_again_and_no_other(
    feats: Path, half: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(feats / "clap" / "video0010.npy", np.ones((10, 8), np.float32))
    capsys.readouterr()
    run(feats, half, runs)
    assert f"Took over 13 of {SHARDS} shards; 1 were" in capsys.readouterr().out
    run(feats, tmp_path / "fresh", runs)
    assert contents(half) == contents(tmp_path / "fresh")


def test_a_video_less_moves_all_that_follow_and_leaves_no_shard_over(
    feats: Path, half: Path, runs: Path, tmp_path: Path
) -> None:
    for number in range(20, VIDEOS):
        for feature in ("clap", "i3d"):
            (feats / feature / f"video{number:04d}.npy").unlink()
    (feats / "clap" / "video0010.npy").unlink()
    (feats / "i3d" / "video0010.npy").unlink()
    run(feats, half, runs)
    run(feats, tmp_path / "fresh", runs)
    assert {path.name for path in half.iterdir()} == {path.name for path in (tmp_path / "fresh").iterdir()}
    assert contents(half) == contents(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("change", "name"), [({"dtype": "float32"}, "features"), ({"videos_per_shard": 7}, "videos_per_shard")]
)
def test_other_settings_start_over_and_say_which(
    feats: Path, half: Path, runs: Path, change: dict[str, object], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run(feats, half, runs, **change)
    said = capsys.readouterr().out
    assert f"holds the beginnings of one with another {name}." in said
    assert "Took over" not in said


def test_sets_that_only_an_earlier_start_made_leave_no_trace(
    feats: Path, half: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tables").mkdir()
    numbers = {"train": (0, 1, 2), "validation": (3,), "test": (4, 42)}
    weak = {split: {f"video{number:04d}_0_10": (0,) for number in each} for split, each in numbers.items()}
    Tables(weak, {}, {}).write(tmp_path / "tables")
    bad = feats / "i3d" / "video0042.npy"
    whole = bad.read_bytes()
    bad.write_bytes(b"")
    capsys.readouterr()
    with pytest.raises(Refusal, match="video0042"):
        run(feats, half, runs, tables=tmp_path / "tables")
    said = capsys.readouterr().out
    assert "Going on" not in said
    assert "Kept 2 of 3 shards" in said
    bad.write_bytes(whole)
    run(feats, half, runs)
    assert f"Took over 14 of {SHARDS} shards." in capsys.readouterr().out
    run(feats, tmp_path / "fresh", runs)
    assert {path.name for path in half.iterdir()} == {path.name for path in (tmp_path / "fresh").iterdir()}
