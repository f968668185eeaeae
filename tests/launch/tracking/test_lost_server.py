"""A store that is lost, slow or not there yet stops no step; in the end every point is there, once."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Record, Tracking, run
from launch.tracking import sync as stage
from tests.launch.tracking.processes import PATIENCE, ROOT, Server, Work, only_run, points

QUICK = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}


def sync(root: Path, uri: str = "") -> None:
    stage.main(stage.Config(root=root, uri=uri))


def wait_for(server: Server, run_id: str, step: int) -> None:
    end = time.monotonic() + PATIENCE
    while (step, float(step)) not in points(server.client(), run_id, "rate"):
        assert time.monotonic() < end
        time.sleep(0.1)


def every(steps: int) -> list[tuple[int, float]]:
    return [(step, float(step)) for step in range(steps)]


def take(record: Record, steps: range) -> None:
    for step in steps:
        record.metrics(step, {"rate": float(step)})


def left(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "journal").iterdir())


def test_a_server_that_is_killed_and_comes_back_has_every_point_once(
    server: Server, work: Work, tmp_path: Path
) -> None:
    """Steps 51 to 150 are taken while there is none: the worker waits for the kill before, and tells after."""
    worker = work(tmp_path, "--to", "200", "--ask", "50", "150", uri=server.uri)
    worker.until("asks")
    wait_for(server, worker.run_id, 50)
    server.kill()
    worker.say("go on")
    worker.until("step 150")
    worker.until("asks")
    server.start()
    worker.say("go on")
    assert worker.end() == 0, worker.said
    client = server.client()
    assert points(client, worker.run_id, "rate") == every(200)
    assert len(points(client, worker.run_id, "loss")) == 200
    assert client.get_run(worker.run_id).info.status == "FINISHED"
    assert f"The store {server.uri} does not answer" in worker.said
    assert f"The store {server.uri} answers again" in worker.said
    experiment = client.get_run(worker.run_id).info.experiment_id
    assert worker.lines[0] == f"The run's page: {server.uri}/#/experiments/{experiment}/runs/{worker.run_id}"
    assert worker.said.count("/#/experiments/") == 1
    assert left(tmp_path) == []


def test_a_server_that_is_suspended_holds_up_no_step_and_takes_nothing_twice(
    server: Server, work: Work, tmp_path: Path
) -> None:
    """What it was sent before, and the sender gave up on, it takes when it goes on, besides what is sent again."""
    worker = work(tmp_path, "--to", "200", "--ask", "50", "150", uri=server.uri, env=QUICK)
    worker.until("asks")
    server.send(signal.SIGSTOP)
    worker.say("go on")
    worker.until("The store", "step 150", "asks")
    server.send(signal.SIGCONT)
    worker.say("go on")
    assert worker.end() == 0, worker.said
    assert points(server.client(), worker.run_id, "rate") == every(200)
    assert server.client().get_run(worker.run_id).info.status == "FINISHED"


def test_points_are_kept_without_a_request_while_the_server_is_suspended(server: Server, tmp_path: Path) -> None:
    """All calls return before the server goes on, whose requests last longer, and its database has none of them."""
    given = Tracking(root=tmp_path, uri=server.uri, experiment="suspended", wait=PATIENCE, system_interval=0)
    with run(given, "pretrain", Settings()) as record:
        record.metrics(0, {"rate": 0.0})
        wait_for(server, record.run_id, 0)
        server.send(signal.SIGSTOP)
        try:
            caller = threading.Thread(target=take, args=(record, range(1, 5000)), daemon=True)
            caller.start()
            caller.join(PATIENCE / 2)
            assert not caller.is_alive(), "it waits for the server"
            with closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as database:
                there = database.execute("select step from metrics where run_uuid = ?", [record.run_id]).fetchall()
            assert there == [(0,)]
        finally:
            server.send(signal.SIGCONT)
    assert points(server.client(), record.run_id, "rate") == every(5000)


def test_a_database_that_cannot_be_opened_is_tried_once_at_a_time_and_holds_up_nothing(
    work: Work, tmp_path: Path
) -> None:
    worker = work(tmp_path, "--wait", "0", uri=f"sqlite:///{tmp_path}")
    assert worker.end() == 0, worker.said
    assert f"The store sqlite:///{tmp_path} does not answer (" in worker.said
    assert "unable to open database file" in worker.said
    assert "retried" not in worker.said, "MLflow itself would try ten times, for minutes"


def test_what_a_lost_server_lacks_at_the_end_is_sent_by_sync_and_only_once(
    server: Server, work: Work, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.csv"
    file.write_text("a,b\n")
    words = ("--to", "60", "--ask", "20", "--wait", "1", "--file", file)
    worker = work(tmp_path, *words, uri=server.uri)
    worker.until("asks")
    wait_for(server, worker.run_id, 20)
    server.kill()
    worker.say("go on")
    assert worker.end() == 0, worker.said
    assert "operations of this run, which are kept in" in worker.said
    assert f"`python -m launch sync --root {tmp_path}` sends them" in worker.said
    file.unlink()
    with pytest.raises(Refusal, match=rf"A store must answer to be sent runs, but {server.uri} lacks \d+ operations"):
        sync(tmp_path)
    server.start()
    command = [sys.executable, "-m", "launch", "sync", "--root", str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    assert f"the store {server.uri} has 1 runs whole" in told
    client = server.client()
    assert points(client, worker.run_id, "rate") == every(60)
    assert client.get_run(worker.run_id).info.status == "FINISHED"
    assert {each.path for each in client.list_artifacts(worker.run_id)} >= {"settings.json", "table.csv"}
    sync(tmp_path)
    assert f"Nothing is left to be sent under '{tmp_path}'." in capsys.readouterr().out


def test_a_run_that_could_not_begin_in_its_store_is_there_as_soon_as_it_answers(
    server: Server, work: Work, tmp_path: Path
) -> None:
    """A part of it is linked to it all the same, and a later start that knows its first id goes on with it."""
    server.kill()
    place = ("--experiment", "late")
    worker = work(tmp_path, *place, "--to", "60", "--ask", "20", uri=server.uri)
    worker.until("The store", "asks")
    part = work(tmp_path, "--experiment", "parts", "--parent", worker.run_id, "--wait", "0", uri=server.uri)
    assert part.end() == 0, part.said
    server.start()
    worker.say("go on")
    assert worker.end() == 0, worker.said
    client, first = server.client(), worker.run_id
    found = only_run(client, "late")
    assert found != first
    assert points(client, found, "rate") == every(60)
    again = work(tmp_path, *place, "--resume", first, "--from", "40", "--to", "80", uri=server.uri)
    assert again.end() == 0, again.said
    assert "operations of 1 earlier run from" in again.said
    assert again.run_id == only_run(client, "late") == found
    assert points(client, found, "rate") == every(80)
    linked = client.get_run(only_run(client, "parts")).data.tags
    assert linked["mlflow.parentRunId"] == found


def test_a_process_that_is_killed_after_sending_leaves_nothing_to_be_doubled(
    server: Server, work: Work, tmp_path: Path
) -> None:
    """It may have been killed before it could note what the store has, as here, where the note is deleted."""
    worker = work(tmp_path, "--to", "60", "--ask", "50", "--end", "kill", uri=server.uri)
    worker.until("asks")
    wait_for(server, worker.run_id, 50)
    worker.say("go on")
    assert worker.end() == -signal.SIGKILL
    (tmp_path / "journal" / f"{worker.run_id}.sent").unlink()
    sync(tmp_path)
    client = server.client()
    assert points(client, worker.run_id, "rate") == every(60)
    assert client.get_run(worker.run_id).info.status == "FAILED"
    assert left(tmp_path) == []


def test_a_run_meant_for_a_wrong_address_can_be_sent_to_the_right_one(
    server: Server, work: Work, tmp_path: Path
) -> None:
    worker = work(tmp_path, "--experiment", "stray", "--wait", "0", uri="http://127.0.0.1:9")
    assert worker.end() == 0, worker.said
    assert "The store http://127.0.0.1:9 does not answer" in worker.said
    sync(tmp_path, server.uri)
    assert points(server.client(), only_run(server.client(), "stray"), "rate") == every(3)
