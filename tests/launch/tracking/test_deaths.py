"""Whatever ends a process, its run says so: at once, or when the next one starts under the same root."""

import signal
from pathlib import Path

from mlflow import MlflowClient

from launch.settings import Settings
from launch.tracking import Tracking, run
from tests.launch.tracking.processes import Work, Worker, points

ENDS = {
    "FINISHED": ("--end", "at once"),
    "FAILED": ("--end", "raise"),
    "KILLED as it was asked to stop": ("--end", "stop"),
    "KILLED by SIGINT": ("--end", "sleep"),
    "KILLED by SIGTERM": ("--end", "sleep"),
}


def status(tracking: Tracking, run_id: str) -> str:
    return str(MlflowClient(tracking.store).get_run(run_id).info.status)


def test_five_ends_and_a_stop_have_their_status_and_touch_no_run_that_lives(work: Work, tmp_path: Path) -> None:
    """All start at once under a new root, where one of them makes the store."""
    tracking = Tracking(root=tmp_path)
    started: dict[str, Worker] = {name: work(tmp_path, *words) for name, words in ENDS.items()}
    killed = work(tmp_path, "--end", "kill")
    assert killed.end() == -signal.SIGKILL, killed.said
    assert status(tracking, killed.run_id) == "RUNNING"
    for name, number in (("KILLED by SIGINT", signal.SIGINT), ("KILLED by SIGTERM", signal.SIGTERM)):
        started[name].until("sleeps")
        with run(tracking, "pack", Settings()):
            pass
        assert status(tracking, started[name].run_id) == "RUNNING"
        started[name].process.send_signal(number)
    assert status(tracking, killed.run_id) == "FAILED"
    codes = {name: worker.end() for name, worker in started.items()}
    assert list(codes.values()) == [0, 1, 75, -signal.SIGINT, 128 + signal.SIGTERM]
    for name, worker in started.items():
        assert status(tracking, worker.run_id) == name.split()[0], worker.said
        assert points(MlflowClient(tracking.store), worker.run_id, "rate") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert list((tmp_path / "journal").iterdir()) == []


def test_a_run_that_was_killed_goes_on_and_repeats_no_point(work: Work, tmp_path: Path) -> None:
    """Steps after the checkpoint are taken again; the points of the first time stand."""
    tracking = Tracking(root=tmp_path)
    first = work(tmp_path, "--to", "58", "--width", "3", "--end", "kill")
    assert first.end() == -signal.SIGKILL
    again = work(tmp_path, "--resume", first.run_id, "--from", "40", "--to", "80", "--width", "5")
    assert again.end() == 0, again.said
    assert again.run_id == first.run_id
    client = MlflowClient(tracking.store)
    assert points(client, first.run_id, "rate") == [(step, float(step)) for step in range(80)]
    found = [round(value * (step + 1)) for step, value in points(client, first.run_id, "loss")]
    assert found == [3] * 58 + [5] * 22
    assert status(tracking, first.run_id) == "FINISHED"
    assert client.get_run(first.run_id).data.tags["changed.width"] == "3 → 5"
