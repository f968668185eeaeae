"""Ranks that are asked to stop, killed, stopped or refused: all end within a bounded time, with a sentence."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from launch.tracking import Tracking

WORKER = Path(__file__).with_name("stage_worker.py")
ROOT = Path(__file__).parents[2]
COMMAND = (
    "import sys, launch.start as start; start.MODULE = 'tests.distributed.stage_worker'; "
    "sys.exit(start.start('pretrain', sys.argv[1:], start.Job(processes=2, max_restarts=RESTARTS)))"
)


@contextmanager
def started(command: Sequence[str], **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """A process whose words can be read; nothing of it is left at the end."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)} | variables
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def ranks(out: Path, *words: str, restarts: tuple[int, int] = (0, 0)) -> Iterator[list["subprocess.Popen[str]"]]:
    """Two ranks without a launcher, that have begun their steps; `restarts`: what each knows of earlier starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, str(WORKER), "pretrain", str(out), *words]
    own = [{"RANK": str(rank), "LAUNCH_RESTARTS": str(known)} for rank, known in enumerate(restarts)]
    with started(command, **world, **own[0]) as first, started(command, **world, **own[1]) as second:
        pids(out, max(restarts))
        yield [first, second]


def command(out: Path, *words: str, restarts: int = 1) -> list[str]:
    """Two ranks under the deepspeed launcher, as `python -m launch` starts them."""
    return [sys.executable, "-c", COMMAND.replace("RESTARTS", str(restarts)), str(out), *words]


def pids(out: Path, start: int) -> list[int]:
    """Those of the ranks, once both have begun their steps."""
    files = [out / f"{start}-{rank}.pid" for rank in range(2)]
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if all(file.exists() and file.read_text() for file in files):
            return [int(file.read_text()) for file in files]
        time.sleep(0.05)
    raise AssertionError("the ranks did not start within 120 s")


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_single_process_that_is_asked_leaves_at_its_next_step_with_75(tmp_path: Path) -> None:
    with started([sys.executable, str(WORKER), "pretrain", str(tmp_path), "--track"]) as process:
        _wait_for(tmp_path / "0-0.pid")
        process.send_signal(signal.SIGUSR1)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == os.EX_TEMPFAIL, said
    assert f"Stopped: after step {(tmp_path / '0-0.done').read_text()}." in said
    assert statuses(tmp_path) == ["KILLED"]


def test_a_second_sigterm_ends_at_once_but_not_one_that_comes_with_the_first(tmp_path: Path) -> None:
    with started([sys.executable, str(WORKER), "pretrain", str(tmp_path), "--pause", "300"]) as process:
        _wait_for(tmp_path / "0-0.pid")
        for pause in (0.2, 0.2, 1.5):
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            time.sleep(pause)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM, said


@pytest.mark.parametrize("lost", [0, 1])
def test_a_rank_killed_by_the_system_ends_the_other_with_a_sentence_that_names_it(tmp_path: Path, lost: int) -> None:
    with ranks(tmp_path) as both:
        both[lost].kill()
        began, other = time.monotonic(), both[1 - lost]
        said = other.communicate(timeout=60)[0]
    assert other.returncode == 1, said
    assert time.monotonic() - began < 20
    assert f"Failed: Rank {lost} (pid {both[lost].pid} on {socket.gethostname()})" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("lost", [0, 1])
def test_a_rank_that_stands_still_ends_the_other_with_a_sentence_that_names_it(tmp_path: Path, lost: int) -> None:
    with ranks(tmp_path, *(["--track"] if lost else [])) as both:
        both[lost].send_signal(signal.SIGSTOP)
        other = both[1 - lost]
        said = other.communicate(timeout=60)[0]
        assert other.returncode == 1, said
        assert (
            f"Failed: Rank {lost} (pid {both[lost].pid} on {socket.gethostname()}) gave no sign of life for 2 s" in said
        )
        if lost:
            assert statuses(tmp_path) == ["FAILED"], "though the main thread hung in a collective"
        both[lost].send_signal(signal.SIGCONT)
        assert both[lost].wait(timeout=60) == 1, "one that comes back finds out that it was given up"


@pytest.mark.parametrize("by", [0, 1])
def test_a_refusal_on_one_rank_ends_all_with_its_sentence(tmp_path: Path, by: int) -> None:
    with ranks(tmp_path, "--refuse", str(by)) as both:
        said = [each.communicate(timeout=60)[0] for each in both]
    assert [each.returncode for each in both] == [2, 2], said
    assert f"Refused{' on rank 1' if by else ''}: It must not." in said[by]
    assert f"Failed: Rank {by} refused: It must not." in said[1 - by]


def test_a_fault_of_the_program_on_one_rank_ends_all_and_shows_where_it_was(tmp_path: Path) -> None:
    with ranks(tmp_path, "--fail", "1") as both:
        said = [each.communicate(timeout=60)[0] for each in both]
    assert [each.returncode for each in both] == [1, 1], said
    assert "Traceback" in said[1]
    assert "Failed: Rank 1 failed with ValueError: broken" in said[0]


def test_a_port_that_is_taken_is_refused_and_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        world = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        with started([sys.executable, str(WORKER), "pretrain", str(tmp_path)], **world) as process:
            said = process.communicate(timeout=60)[0]
    assert process.returncode == 2, said
    assert (
        f"Refused: The port where processes meet must be free, but {port} of {socket.gethostname()} is in use" in said
    )


def test_ranks_that_know_of_different_numbers_of_starts_take_the_highest(tmp_path: Path) -> None:
    with ranks(tmp_path, "--steps", "3", restarts=(0, 2)) as both:
        said = [each.communicate(timeout=60)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert sorted(file.name for file in tmp_path.glob("*.pid")) == ["2-0.pid", "2-1.pid"]


def test_ranks_that_end_together_end_well(tmp_path: Path) -> None:
    with ranks(tmp_path, "--steps", "10") as both:
        said = [each.communicate(timeout=60)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], said


def test_a_launcher_that_is_asked_stops_its_ranks_and_one_that_is_killed_takes_them_with_it(tmp_path: Path) -> None:
    with started(command(tmp_path)) as process:
        left = pids(tmp_path, 0)
        os.kill(parent(left[0]), signal.SIGKILL)
        again = pids(tmp_path, 1)
        assert not any(map(alive, left))
        os.kill(parent(again[0]), signal.SIGTERM)
        said = process.communicate(timeout=120)[0]
    assert process.returncode == os.EX_TEMPFAIL, said
    assert "died without a word" in said


def test_a_run_whose_leading_rank_is_killed_and_not_started_again_has_failed(tmp_path: Path) -> None:
    with started(command(tmp_path, "--track", restarts=0)) as process:
        leading = pids(tmp_path, 0)[0]
        assert statuses(tmp_path) == ["RUNNING"]
        os.kill(leading, signal.SIGKILL)
        said = process.communicate(timeout=120)[0]
    assert process.returncode not in (0, os.EX_TEMPFAIL), said
    assert "Starting again" not in said
    assert statuses(tmp_path) == ["FAILED"]


def test_a_second_signal_to_the_command_ends_at_once_and_the_run_is_told_as_killed(tmp_path: Path) -> None:
    with started(command(tmp_path, "--track", "--pause", "300")) as process:
        pids(tmp_path, 0)
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
            time.sleep(0.5)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGKILL, said
    assert statuses(tmp_path) == ["KILLED"]


def test_a_refusal_is_not_started_again_and_a_command_that_is_killed_leaves_no_rank(tmp_path: Path) -> None:
    (tmp_path / "refused").mkdir()
    (tmp_path / "killed").mkdir()
    with started(command(tmp_path / "refused", "--refuse", "1")) as process:
        with started(command(tmp_path / "killed")) as killed:
            left = pids(tmp_path / "killed", 0)
            os.kill(killed.pid, signal.SIGKILL)
            end = time.monotonic() + 30
            while any(map(alive, left)) and time.monotonic() < end:
                time.sleep(0.1)
            assert not any(map(alive, left))
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 2, said
    assert "Starting again" not in said


def statuses(out: Path) -> list[str]:
    """Of the MLflow runs that were written."""
    client = MlflowClient(Tracking(root=out / "runs").store)
    experiment = client.get_experiment_by_name("soundsight")
    return [run.info.status for run in client.search_runs([experiment.experiment_id])]


def _wait_for(file: Path) -> None:
    end = time.monotonic() + 120
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end, "it did not start within 120 s"
        time.sleep(0.05)
