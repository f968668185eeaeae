"""A pack whose processes are killed, refused or interrupted goes on where it was, and its bytes never show it."""

import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from launch.refusal import Refusal
from shards import pack
from tests.shards.at_work import await_notes, contents, launched, notes, untracked
from tests.shards.packs import PER_SHARD, SHARDS, run


def start(feats: Path, out: Path, runs: Path, tracked: bool = False) -> subprocess.Popen[str]:
    """The same as a process of its own, with two workers."""
    words = ["--features", str(feats), "--out", str(out), "--videos_per_shard", str(PER_SHARD), "--processes", "2"]
    program = ["-m", "launch", "pack"] if tracked else untracked("shards.pack")
    return launched(program, [*words, "--tracking.root", str(runs)])


@pytest.mark.parametrize("processes", [2, 3])
def test_the_bytes_do_not_depend_on_the_number_of_processes(
    feats: Path, tmp_path: Path, runs: Path, undisturbed: dict[str, bytes], processes: int
) -> None:
    run(feats, tmp_path / "out", runs, processes=processes)
    assert contents(tmp_path / "out") == undisturbed


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ended(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all of them are gone, or only wait to be buried, in that time."""
    until = time.monotonic() + seconds
    alive = processes
    while alive and time.monotonic() < until:
        alive = [each for each in alive if lives(each)]
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
    children = psutil.Process(process.pid).children()  # and a tracker, which stays until their parent has ended
    workers = [each for each in children if "spawn_main" in " ".join(each.cmdline())]
    process.send_signal(number)
    assert ended(workers, 3)
    said, _ = process.communicate(timeout=60)
    assert ended(children, 3)
    assert len(workers) == 2
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
