"""A run begins in its store, or says in one sentence why not: a root, a parent or an experiment that is not fit."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Tracking, prepare, run
from tests.disks import fill


class Config(Settings):
    """What changes from start to start."""

    width: int = 3
    depth: int = 2


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    return Tracking(root=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def disk(small_disk: Callable[[int], Path]) -> Path:
    return small_disk(2048)


def test_a_read_only_root_is_refused_before_anything_is_done(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    sentence = rf"^A run root must be a folder that can be written, but '{disk}.*' is not \(Read-only file system\): .*"
    for root in (disk, disk / "runs"):
        with pytest.raises(Refusal, match=sentence), run(Tracking(root=root), "pack", Config()):
            pytest.fail("it began")
        with pytest.raises(Refusal, match=sentence):
            prepare(Tracking(root=root))


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(Refusal, match=r"A run root must be a folder .* is not \(File exists\)"):
        prepare(Tracking(root=tmp_path / "runs"))


@pytest.mark.parametrize("parent", ["c0ffee", "0" * 32, "it's"])
def test_a_parent_that_does_not_exist_is_refused(tracking: Tracking, parent: str) -> None:
    given = tracking.model_copy(update={"parent": parent})
    sentence = rf"tracking\.parent must be the id of a run in the store, but '{parent}' is none in {tracking.store}"
    with pytest.raises(Refusal, match=sentence), run(given, "finetune", Config()):
        pytest.fail("it began")


def test_an_experiment_that_was_deleted_is_refused_with_the_command_that_restores_it(tmp_path: Path) -> None:
    given = Tracking(root=tmp_path, experiment="gone")
    prepare(given)
    client = MlflowClient(given.store)
    found = client.get_experiment_by_name("gone")
    assert found
    client.delete_experiment(found.experiment_id)
    with pytest.raises(Refusal, match=rf"but 'gone' is not .*restore --experiment-id {found.experiment_id}`"):
        prepare(given)


def test_a_command_prepares_the_store_with_its_experiment(tmp_path: Path) -> None:
    given = Tracking(root=tmp_path / "runs", experiment="mine")
    prepare(given)
    assert (tmp_path / "runs" / "mlflow.db").exists()
    assert MlflowClient(given.store).get_experiment_by_name("mine")


def test_two_processes_do_not_write_one_run(tracking: Tracking) -> None:
    with run(tracking, "pretrain", Config()) as record:
        sentence = rf"A run must be written by one process at a time, but another is writing the run {record.run_id}"
        with pytest.raises(Refusal, match=sentence), run(tracking, "pretrain", Config(), resume=record.run_id):
            pytest.fail("it began")


def test_settings_that_change_from_start_to_start_are_tags_that_tell_all_there_were(tracking: Tracking) -> None:
    with run(tracking, "pretrain", Config()) as record:
        pass
    for width in (5, 5, 3):
        with run(tracking, "pretrain", Config(width=width), resume=record.run_id):
            pass
    client = MlflowClient(tracking.store)
    found = client.get_run(record.run_id).data
    assert {name: value for name, value in found.tags.items() if name.startswith("changed.")} == {
        "changed.width": "3 → 5 → 3"
    }
    assert (found.params["width"], found.params["depth"]) == ("3", "2")
    path = client.download_artifacts(record.run_id, "settings.json")
    assert json.loads(Path(path).read_text())["width"] == 3


def test_a_point_that_a_resumed_start_takes_again_stays_as_it_was(tracking: Tracking) -> None:
    with run(tracking, "pretrain", Config()) as record:
        for step in range(5):
            record.metrics(step, {"loss": 0.5, "held_out": 1.0} if step < 3 else {"loss": 0.5})
    with run(tracking, "pretrain", Config(), resume=record.run_id) as again:
        for step in range(2, 8):
            again.metrics(step, {"loss": 0.25, "held_out": 2.0})
    client = MlflowClient(tracking.store)
    found = {name: client.get_metric_history(record.run_id, name) for name in ("loss", "held_out")}
    assert [(point.step, point.value) for point in found["loss"]] == [
        *((step, 0.5) for step in range(5)),
        *((step, 0.25) for step in range(5, 8)),
    ]
    assert [(point.step, point.value) for point in found["held_out"]] == [
        *((step, 1.0) for step in range(3)),
        *((step, 2.0) for step in range(3, 8)),
    ]


def test_what_the_store_refuses_is_left_out_and_counted_and_holds_up_nothing_else(
    tracking: Tracking, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    with run(tracking, "pack", Config()) as record:
        record.metrics(0, {"good": 1.0, "not*taken": 2.0, "better": 3.0})
        record.artifact(tmp_path / "gone.csv")
        record.text("notes.txt", "there")
    client = MlflowClient(tracking.store)
    found = client.get_run(record.run_id)
    assert {name for name in found.data.metrics if "/" not in name} == {"good", "better"}
    assert (found.info.status, found.data.tags["dropped"]) == ("FINISHED", "2")
    assert "notes.txt" in {file.path for file in client.list_artifacts(record.run_id)}
    said = capsys.readouterr().out
    assert "does not take the point not*taken at step 0 (" in said
    assert "2 points and files of this run were dropped; its tag 'dropped' says so." in said


def test_a_store_that_only_the_environment_names_is_not_used_and_a_sentence_says_so(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hidden@host:5000")
    with run(tracking, "pack", Config()):
        pass
    said = capsys.readouterr().out
    assert f"MLFLOW_TRACKING_URI names http://***@host:5000, but runs go to {tracking.store}" in said
    assert '--tracking.uri "$MLFLOW_TRACKING_URI"' in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.store)
    with run(tracking, "pack", Config()):
        pass
    assert "MLFLOW_TRACKING_URI" not in capsys.readouterr().out


def test_work_goes_on_where_the_disk_of_the_journal_is_full_and_the_store_gets_every_point(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = Tracking(root=disk, uri=f"sqlite:///{tmp_path}/elsewhere.db", wait=3, system_interval=0)
    prepare(given)
    with run(given, "pretrain", Config()) as record:
        fill(disk)
        for step in range(300):
            record.metrics(step, {f"metric{number}": float(step) for number in range(10)})
        record.text("notes.txt", "kept until there is room for it")
    client = MlflowClient(given.store)
    for name in ("metric0", "metric9"):
        assert [point.step for point in client.get_metric_history(record.run_id, name)] == list(range(300))
    assert client.get_run(record.run_id).info.status == "FINISHED"
    assert not (disk / "artifacts" / record.run_id / "artifacts" / "notes.txt").exists()
    assert "cannot be written (No space left on device)" in capsys.readouterr().out


def test_work_goes_on_where_the_disk_of_journal_and_store_is_full_and_what_is_lost_is_told(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = Tracking(root=disk, wait=0.5, system_interval=0)
    prepare(given)
    with run(given, "pretrain", Config()) as record:
        full = fill(disk)
        for step in range(300):
            record.metrics(step, {f"metric{number}": float(step) for number in range(10)})
    said = capsys.readouterr().out
    assert "cannot be written (No space left on device)" in said
    assert f"The store {given.store} does not answer" in said
    assert "operations are lost: neither the store nor the disk of" in said
    full.unlink()
    prepare(given)
    steps = [point.step for point in MlflowClient(given.store).get_metric_history(record.run_id, "metric0")]
    assert steps == list(range(len(steps))), "what the journal had room for is there, once"
