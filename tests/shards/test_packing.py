"""A pack that is killed, refused or crowded goes on where it was, and its bytes never show it."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from launch.refusal import Refusal
from launch.tracking import Tracking
from shards import pack
from shards.read import Shards

VIDEOS, PER_SHARD = 450, 3
SHARDS = VIDEOS // PER_SHARD


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def feats(tmp_path: Path) -> Path:
    """Two features of 450 videos, in a folder of its own a test: 150 shards, so that a kill finds it at work."""
    return plant(tmp_path / "corpus" / "feats", VIDEOS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> dict[str, bytes]:
    """The bytes of the same corpus packed by one process at one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(plant(folder / "corpus" / "feats", VIDEOS), folder / "out", runs)
    return contents(folder / "out")


def plant(feats: Path, videos: int) -> Path:
    generator = np.random.default_rng(0)
    for name, width in (("clap", 8), ("i3d", 16)):
        (feats / name).mkdir(parents=True)
        for number in range(videos):
            np.save(feats / name / f"video{number:04d}.npy", generator.random((10, width), dtype=np.float32))
    return feats


def run(feats: Path, out: Path, runs: Path, **changes: object) -> None:
    settings = {"features": feats, "out": out, "processes": 1, "videos_per_shard": PER_SHARD} | changes
    pack.main(pack.Config(**settings, tracking=Tracking(root=runs)))


UNTRACKED = """
import sys
from contextlib import nullcontext
from launch import tracking
from launch.refusal import Refusal
from launch.settings import load
from shards import pack
tracking.run = lambda *_: nullcontext(tracking.Record(None))
try:
    pack.main(load(pack.Config, [], sys.argv[1:], "pack"))
except Refusal as refusal:
    print(refusal, file=sys.stderr)
    sys.exit(2)
"""
"""The stage without MLflow, whose import takes seconds."""


def start(feats: Path, out: Path, runs: Path, tracked: bool = False) -> subprocess.Popen:
    """The same as a process of its own, with two workers."""
    words = ["--features", str(feats), "--out", str(out), "--videos_per_shard", str(PER_SHARD), "--processes", "2"]
    program = ["-m", "launch", "pack"] if tracked else ["-c", UNTRACKED]
    command = [sys.executable, *program, *words, "--tracking.root", str(runs)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def notes(out: Path) -> list[Path]:
    return sorted(out.parent.glob(f".{out.name}.part/*/notes/*.json"))


def await_notes(out: Path, count: int, process: subprocess.Popen) -> None:
    while len(notes(out)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


@pytest.mark.parametrize("processes", [2, 3])
def test_the_bytes_do_not_depend_on_the_number_of_processes(
    feats: Path, tmp_path: Path, runs: Path, undisturbed: dict[str, bytes], processes: int
) -> None:
    run(feats, tmp_path / "out", runs, processes=processes)
    assert contents(tmp_path / "out") == undisturbed


def ended(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all of them are gone, or only wait to be buried, in that time."""
    until = time.monotonic() + seconds
    alive = processes
    while alive and time.monotonic() < until:
        alive = [each for each in alive if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        time.sleep(0.01)
    return not alive


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_pack_killed_at_any_moment_goes_on_and_its_bytes_do_not_show_it(
    feats: Path,
    tmp_path: Path,
    runs: Path,
    undisturbed: dict[str, bytes],
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, dice = tmp_path / "out", random.Random(seed)
    process = start(feats, out, runs)
    await_notes(out, dice.randrange(1, SHARDS * 3 // 4), process)
    workers = psutil.Process(process.pid).children()
    time.sleep(dice.random() * 0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert ended(workers, 5)
    left = len(notes(out))
    run(feats, out, runs, processes=2)
    assert f"Took over {left} of {SHARDS} shards." in capsys.readouterr().out
    assert contents(out) == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "out"]


def test_a_refusal_in_any_process_is_said_as_it_is_and_the_rest_is_kept(
    feats: Path, tmp_path: Path, runs: Path, undisturbed: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    out, first, later = tmp_path / "out", feats / "clap" / "video0075.npy", feats / "clap" / "video0079.npy"
    whole = {file: file.read_bytes() for file in (first, later)}
    for file in whole:
        np.save(file, np.zeros((9, 8), np.float32))
    process = start(feats, out, runs)
    said, complaints = process.communicate(timeout=60)
    assert process.returncode == 2
    with pytest.raises(Refusal, match=r"video0075\.npy' has shape \(9, 8\)") as alone:
        run(feats, tmp_path / "alone", runs)
    assert complaints == f"{alone.value}\n"
    kept = len(notes(out))
    assert kept >= 25
    assert f"Kept {kept} of {SHARDS} shards" in said
    for file, content in whole.items():
        file.write_bytes(content)
    run(feats, out, runs)
    assert f"Took over {kept} of {SHARDS} shards." in capsys.readouterr().out
    assert contents(out) == undisturbed


def test_going_on_may_leave_out_the_bad_video_that_stopped_it(
    feats: Path, tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(feats / "i3d" / "video0042.npy", np.full((10, 16), np.nan, np.float32))
    with pytest.raises(Refusal, match="video0042"):
        run(feats, tmp_path / "out", runs)
    run(feats, tmp_path / "out", runs, on_bad="skip")
    assert f"Took over 14 of {SHARDS} shards." in capsys.readouterr().out
    assert Shards.open(tmp_path / "out").manifest.counts == (*[3] * 14, 2, *[3] * 135)


def test_a_file_that_goes_away_meanwhile_is_refused_and_never_left_out(
    feats: Path, tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pack.share_out

    def when_the_plan_is_made(*everything: object) -> object:
        (feats / "clap" / "video0042.npy").unlink()
        return real(*everything)  # type: ignore[arg-type]

    monkeypatch.setattr(pack, "share_out", when_the_plan_is_made)
    with pytest.raises(Refusal, match=r"readable, but '.*clap/video0042\.npy' is not \(No such file"):
        run(feats, tmp_path / "out", runs, on_bad="skip")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_every_process_promptly_and_says_what_is_kept(
    feats: Path, tmp_path: Path, runs: Path, number: signal.Signals
) -> None:
    process = start(feats, tmp_path / "out", runs, tracked=True)
    await_notes(tmp_path / "out", 20, process)
    workers = psutil.Process(process.pid).children()
    process.send_signal(number)
    assert ended(workers, 3)
    said, _ = process.communicate(timeout=20)
    assert process.returncode != 0
    assert f"Kept {len(notes(tmp_path / 'out'))} of {SHARDS} shards" in said


def test_a_worker_that_is_killed_ends_the_pack_with_an_error_that_says_so(
    feats: Path, tmp_path: Path, runs: Path
) -> None:
    process = start(feats, tmp_path / "out", runs)
    await_notes(tmp_path / "out", 20, process)
    workers = [each for each in psutil.Process(process.pid).children() if "spawn_main" in " ".join(each.cmdline())]
    workers[0].kill()
    said, complaints = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"{workers[0].pid} was killed by SIGKILL" in complaints
    assert f"Kept {len(notes(tmp_path / 'out'))} of {SHARDS} shards" in said


def test_a_second_pack_into_the_same_folder_at_the_same_time_is_refused(
    feats: Path, tmp_path: Path, runs: Path
) -> None:
    process = start(feats, tmp_path / "out", runs)
    await_notes(tmp_path / "out", 1, process)
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Refusal, match="another is at work"):
            run(feats, tmp_path / "out", runs)
    finally:
        process.send_signal(signal.SIGCONT)
    process.communicate(timeout=20)
    assert process.returncode == 0


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
