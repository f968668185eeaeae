"""An export that was stopped or killed goes on with the same command, and its bytes never show it."""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from launch.refusal import Refusal
from launch.tracking import Tracking
from pretrain import export
from pretrain.model import ModelSettings, Transformer, save_encoder
from shards.read import Shards, open_sets
from tests.pretrain.conftest import VIDEOS, WIDTHS, Planted, damage
from tests.shards.at_work import await_notes, contents, launched, notes, untracked

SETS = ("test", "train", "validation")
PER_SHARD, BATCH = 3, 2
SHARDS_A_SET = -(-VIDEOS // PER_SHARD)
SHARDS = SHARDS_A_SET * len(SETS)


def write_encoder(folder: Path, seed: int) -> Path:
    settings = ModelSettings(layers=2, width=16, heads=2)
    torch.manual_seed(seed)
    save_encoder(folder, Transformer(settings, WIDTHS).state_dict(), settings, WIDTHS, {})
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "encoder", 0)


@pytest.fixture
def sets(planted: Planted, tmp_path: Path) -> Path:
    """The planted shards three times."""
    for name in SETS:
        shutil.copytree(planted.shards, tmp_path / "sets" / name)
    return tmp_path / "sets"


@pytest.fixture(scope="module")
def undisturbed(
    planted: Planted, encoder: Path, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The bytes of the same sets exported at one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for name in SETS:
        shutil.copytree(planted.shards, folder / "sets" / name)
    run(encoder, folder / "sets", folder / "out", runs)
    return contents(folder / "out")


def run(encoder: Path, shards: Path, out: Path, runs: Path, **changes: object) -> None:
    given = {"encoder": encoder, "shards": shards, "out": out, "batch": BATCH, "videos_per_shard": PER_SHARD}
    export.main(export.Config.model_validate({**given, "tracking": Tracking(root=runs), **changes}))


def start(
    encoder: Path, shards: Path, out: Path, *more: str, program: Sequence[str] = untracked("pretrain.export")
) -> subprocess.Popen[str]:
    """The same as a process of its own."""
    words = ["--encoder", encoder, "--shards", shards, "--out", out, "--batch", BATCH, "--videos_per_shard", PER_SHARD]
    return launched(program, [*map(str, words), *more])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_export_killed_at_any_moment_goes_on_and_its_bytes_do_not_show_it(
    encoder: Path,
    sets: Path,
    tmp_path: Path,
    runs: Path,
    undisturbed: dict[str, bytes],
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, dice = tmp_path / "out", random.Random(seed)
    process = start(encoder, sets, out)
    await_notes(out, dice.randrange(1, SHARDS * 2 // 3), process)
    time.sleep(dice.random() * 0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    left = len(notes(out))
    run(encoder, sets, out, runs)
    assert f"Took over {left} of {SHARDS} shards." in capsys.readouterr().out
    assert contents(out) == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "sets"]


@pytest.fixture
def half(encoder: Path, sets: Path, tmp_path: Path, runs: Path) -> Path:
    """The folder that an export was to write which a bad video stopped in the second set; the video is whole again."""
    tars = {path: path.read_bytes() for path in (sets / "train").glob("*.tar")}
    damage(sets / "train", "video030_0_10")
    with pytest.raises(Refusal, match="video030_0_10"):
        run(encoder, sets, tmp_path / "out", runs)
    for path, content in tars.items():
        path.write_bytes(content)
    assert len(notes(tmp_path / "out")) == SHARDS_A_SET + 10
    return tmp_path / "out"


def test_neither_sets_nor_shards_that_are_finished_are_read_again(
    encoder: Path, sets: Path, half: Path, runs: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, int]] = []
    real = Shards.batch

    def watched(shards: Shards, places: Sequence[int], *more: object) -> object:
        read.extend((Path(shards.location).name, place) for place in places)
        return real(shards, places, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Shards, "batch", watched)
    run(encoder, sets, half, runs)
    assert read == [*(("train", place) for place in range(30, VIDEOS)), *(("validation", p) for p in range(VIDEOS))]
    assert contents(half) == undisturbed


@pytest.mark.parametrize("what", ["tar", "index", "missing", "note"])
def test_a_finished_shard_that_was_damaged_since_is_encoded_again(
    encoder: Path,
    sets: Path,
    half: Path,
    runs: Path,
    undisturbed: dict[str, bytes],
    what: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tar,) = half.parent.glob(".out.part/*/result/test/000003.tar")
    file = {"index": tar.with_name("000003.index.safetensors"), "note": notes(half)[3]}.get(what, tar)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    if what == "missing":
        file.unlink()
    if what == "note":
        file.write_text('{"shard": {}}')
    run(encoder, sets, half, runs)
    left = SHARDS_A_SET + 10
    assert f"Took over {left - 1} of {SHARDS} shards; 1 were damaged" in capsys.readouterr().out
    assert contents(half) == undisturbed


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"batch": 3}, "batch"),
        ({"scale": "unit"}, "scale"),
        ({"videos_per_shard": 7}, "videos_per_shard"),
        ({"encoder": 1}, "encoder"),
        ({"shards": 0}, "shards"),
    ],
)
def test_other_settings_start_over_and_say_which(
    encoder: Path,
    sets: Path,
    half: Path,
    runs: Path,
    tmp_path: Path,
    change: dict[str, object],
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if name == "encoder":
        change = {"encoder": write_encoder(tmp_path / "other", 1)}
    if name == "shards":
        shutil.rmtree(sets / "validation")
        change = {}
    run(**{"encoder": encoder, "shards": sets, "out": half, "runs": runs, **change})  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert f"holds the beginnings of one with another {name}." in said
    assert "Took over" not in said
    run(**{"encoder": encoder, "shards": sets, "out": tmp_path / "fresh", "runs": runs, **change})  # type: ignore[arg-type]
    assert contents(half) == contents(tmp_path / "fresh")


def test_videos_that_were_skipped_before_a_kill_are_counted_after_it(
    encoder: Path, sets: Path, tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [damage(sets / "test", "video000_0_10"), damage(sets / "test", "video060_0_10")]
    bad += [damage(sets / "train", f"video0{number}_0_10") for number in (30, 31, 32)]  # a whole shard
    out = tmp_path / "out"
    process = start(encoder, sets, out, "--reading.on_bad", "skip")
    await_notes(out, SHARDS_A_SET + 12, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    run(encoder, sets, out, runs, reading={"on_bad": "skip"})
    assert f"Skipped {len(bad)} videos" in capsys.readouterr().out
    run(encoder, sets, tmp_path / "whole", runs, reading={"on_bad": "skip"})
    assert contents(out) == contents(tmp_path / "whole")
    written = open_sets(out)
    assert {name: each.manifest.source["left_out"]["bad"] for name, each in written.items()} == {
        "test": 2,
        "train": 3,
        "validation": 0,
    }
    assert written["train"].keys == tuple(f"video{n:03d}_0_10" for n in range(VIDEOS) if n not in (30, 31, 32))


def test_going_on_without_skipping_makes_the_shards_again_that_lack_a_bad_video(
    encoder: Path, sets: Path, tmp_path: Path, runs: Path
) -> None:
    damage(sets / "test", "video004_0_10")
    process = start(encoder, sets, tmp_path / "out", "--reading.on_bad", "skip")
    await_notes(tmp_path / "out", 5, process)
    process.kill()
    process.communicate()
    with pytest.raises(Refusal, match="video004_0_10"):
        run(encoder, sets, tmp_path / "out", runs)


def test_a_set_of_which_every_video_is_bad_is_refused(encoder: Path, sets: Path, tmp_path: Path, runs: Path) -> None:
    for number in range(VIDEOS):
        damage(sets / "train", f"video{number:03d}_0_10")
    with pytest.raises(Refusal, match=r"at least one video, but all of '.*train' are bad: .*video000_0_10"):
        run(encoder, sets, tmp_path / "out", runs, reading={"on_bad": "skip"})
    assert not (tmp_path / "out").exists()


def test_a_second_export_into_the_same_folder_at_the_same_time_is_refused(
    encoder: Path, sets: Path, tmp_path: Path, runs: Path, undisturbed: dict[str, bytes]
) -> None:
    process = start(encoder, sets, tmp_path / "out")
    await_notes(tmp_path / "out", 1, process)
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Refusal, match="another is at work"):
            run(encoder, sets, tmp_path / "out", runs)
    finally:
        process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert contents(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_says_what_it_keeps_and_is_not_half_there(
    encoder: Path, sets: Path, tmp_path: Path, runs: Path, number: signal.Signals
) -> None:
    process = start(encoder, sets, tmp_path / "out", "--tracking.root", str(runs), program=("-m", "launch", "export"))
    await_notes(tmp_path / "out", 3, process)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"Kept {len(notes(tmp_path / 'out'))} of {SHARDS} shards" in said
    assert not (tmp_path / "out").exists()
