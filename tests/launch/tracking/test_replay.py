"""What is sent, ended and deleted of earlier processes: nothing that is another store's, or another machine's."""

import json
import signal
from pathlib import Path

from mlflow import MlflowClient

from launch.settings import Settings
from launch.tracking import Tracking, prepare, run
from launch.tracking.journal import Journal
from launch.tracking.replay import replay
from launch.tracking.shelf import parked
from tests.launch.tracking.processes import Work, only_run


def status(tracking: Tracking, run_id: str) -> str:
    return str(MlflowClient(tracking.store).get_run(run_id).info.status)


def killed(work: Work, tracking: Tracking) -> str:
    """The id of a run whose process was killed after it had sent everything."""
    worker = work(tracking.root, "--ask", "2", "--end", "kill", uri=tracking.uri)
    worker.until("asks")
    note = tracking.root / "journal" / f"{worker.run_id}.sent"
    while json.loads(note.read_text())["bytes"] < note.with_suffix(".jsonl").stat().st_size:
        assert worker.process.poll() is None
    worker.say("go on")
    assert worker.end() == -signal.SIGKILL, worker.said
    return worker.run_id


def test_a_stage_with_another_store_leaves_a_run_to_be_ended_in_its_own(work: Work, tmp_path: Path) -> None:
    first, second = (Tracking(root=tmp_path / "runs", uri=f"sqlite:///{tmp_path}/{name}.db") for name in "ab")
    run_id = killed(work, first)
    with run(second, "pack", Settings()):
        pass
    assert parked(first.root, run_id)
    assert status(first, run_id) == "RUNNING"
    prepare(first)
    assert status(first, run_id) == "FAILED"
    assert not parked(first.root, run_id)


def test_a_journal_of_another_machine_is_read_and_not_touched_until_others_are_asked_for(
    work: Work, tmp_path: Path
) -> None:
    """Its process may live, and write half of a line just now."""
    tracking = Tracking(root=tmp_path)
    run_id = killed(work, tracking)
    lines = tmp_path / "journal" / f"{run_id}.jsonl"
    note = lines.with_suffix(".sent")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"host": "far"}))
    with lines.open("a") as file:
        file.write('{"do":"end"')
    before = [path.read_bytes() for path in (lines, note)]
    found = replay(tmp_path, tracking.store)
    assert (found.elsewhere, found.busy, found.runs) == (1, 0, 0)
    assert [path.read_bytes() for path in (lines, note)] == before
    assert status(tracking, run_id) == "RUNNING"
    assert replay(tmp_path, tracking.store, others=True).runs == 1
    assert status(tracking, run_id) == "FAILED"
    assert not parked(tmp_path, run_id)


def test_a_run_of_another_machine_that_says_how_it_ended_is_sent(tmp_path: Path) -> None:
    tracking = Tracking(root=tmp_path, experiment="far")
    journal = parked_run(tracking, host="far")
    journal.end("KILLED")
    journal.append({"do": "text", "name": "late.txt", "content": "a file that was put off"})
    journal.close(delete=False)
    prepare(tracking)
    run_id = only_run(MlflowClient(tracking.store), "far")
    assert status(tracking, run_id) == "KILLED"
    assert not parked(tmp_path, "first")


def test_a_run_whose_experiment_was_deleted_waits_and_refuses_no_other(work: Work, tmp_path: Path) -> None:
    """It is the first of the journals, and holds up none behind it."""
    gone, other = (Tracking(root=tmp_path, experiment=name) for name in ("gone", "other"))
    prepare(gone)
    client = MlflowClient(gone.store)
    experiment = client.get_experiment_by_name("gone")
    assert experiment
    parked_run(gone).close(delete=False)
    client.delete_experiment(experiment.experiment_id)
    run_id = killed(work, other)
    with run(other, "pack", Settings()):
        assert status(other, run_id) == "FAILED"
    found = replay(tmp_path, other.store)
    assert found.left > 0
    assert f"mlflow experiments restore --experiment-id {experiment.experiment_id}" in found.reason
    client.restore_experiment(experiment.experiment_id)
    assert replay(tmp_path, other.store).runs == 1
    assert status(gone, only_run(client, "gone")) == "FAILED"


def parked_run(tracking: Tracking, host: str = "") -> Journal:
    """The journal of a run that its store does not have."""
    journal = Journal(tracking.root, "first")
    told = {"id": "first", "time": 1, "store": tracking.store, "experiment": tracking.experiment, "artifacts": ""}
    journal.begin({"do": "begin", **told, "name": "pack", "tags": {}, "host": host, "pid": 1})
    return journal
