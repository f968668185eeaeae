"""A run ends with a truthful status and holds what was logged; only the leading rank writes."""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from launch.ranks import watch
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Record, Tracking, mark, run


class Inner(Settings):
    width: int = 3


class Config(Settings):
    inner: Inner = Inner()
    name: str = "x"


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    return Tracking(root=tmp_path_factory.mktemp("runs"))


def last_run(tracking: Tracking) -> Run:
    client = MlflowClient(tracking.store)
    experiment = client.get_experiment_by_name(tracking.experiment)
    assert experiment
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]


def test_settings_metrics_tags_and_artifacts_are_in_the_run(tracking: Tracking, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text("{}")
    with run(tracking, "pack", Config()) as record:
        record.metrics(1, {"loss": 0.5})
        record.metrics(2, {"loss": 0.25})
        record.tags({"manifest": "abc"})
        record.artifact(tmp_path / "scores.json")
        record.text("notes.txt", "hello")
    found, client = last_run(tracking), MlflowClient(tracking.store)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"inner.width": "3", "name": "x"}
    assert found.data.tags["manifest"] == "abc"
    points = client.get_metric_history(found.info.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(1, 0.5), (2, 0.25)]
    names = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert names == {"settings.json", "packages.txt", "scores.json", "notes.txt"}


def _fail() -> None:
    raise ValueError("broken")


def _interrupt() -> None:
    raise KeyboardInterrupt


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def _hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)
    signal.pause()


@pytest.mark.parametrize(
    ("death", "raised", "status"),
    [
        (_fail, ValueError, "FAILED"),
        (_interrupt, KeyboardInterrupt, "KILLED"),
        (_terminate, SystemExit, "KILLED"),
        (_hang_up, SystemExit, "KILLED"),
    ],
)
def test_a_run_that_dies_says_how(
    tracking: Tracking, death: Callable[[], None], raised: type[BaseException], status: str
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and stays so in a run
    with pytest.raises(raised), run(tracking, "pack", Config()):
        death()
    assert last_run(tracking).info.status == status


def test_a_rank_that_does_not_lead_writes_nothing(tmp_path: Path) -> None:
    quiet = Tracking(root=tmp_path / "none")
    with run(quiet, "pack", Config(), leads=False) as record:
        assert isinstance(record, Record)
        record.metrics(0, {"loss": 1.0})
        record.text("a.txt", "a")
    assert not quiet.root.exists()


def test_a_resumed_run_goes_on_in_the_same_run_and_ends_with_its_own_status(tracking: Tracking) -> None:
    with contextlib.suppress(ValueError), run(tracking, "pretrain", Config()) as record:
        record.metrics(1, {"loss": 0.5})
        _fail()
    client = MlflowClient(tracking.store)
    assert client.get_run(record.run_id).info.status == "FAILED"
    with run(tracking, "pretrain", Config(name="renamed"), resume=record.run_id) as again:
        assert client.get_run(record.run_id).info.status == "RUNNING"
        again.metrics(2, {"loss": 0.25})
    found = client.get_run(record.run_id)
    assert (again.run_id, found.info.status) == (record.run_id, "FINISHED")
    assert found.data.params["name"] == "x", "parameters stay what they were"
    assert [point.value for point in client.get_metric_history(record.run_id, "loss")] == [0.5, 0.25]
    path = client.download_artifacts(record.run_id, "settings.json")
    assert json.loads(Path(path).read_text())["name"] == "renamed"


def test_a_run_that_is_part_of_another_is_found_by_it_also_when_it_goes_on(tracking: Tracking) -> None:
    with run(tracking, "reproduce", Config()) as first, run(tracking, "reproduce", Config()) as second:
        with run(tracking.model_copy(update={"parent": first.run_id}), "finetune", Config()) as record:
            pass
        with run(tracking.model_copy(update={"parent": second.run_id}), "finetune", Config(), resume=record.run_id):
            pass
    client = MlflowClient(tracking.store)
    experiment = client.get_run(record.run_id).info.experiment_id
    for parent, parts in ((first, []), (second, [record.run_id])):
        found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
        assert [each.info.run_id for each in found] == parts
    assert "mlflow.parentRunId" not in client.get_run(first.run_id).data.tags


@pytest.mark.parametrize("deleted", [True, False])
def test_a_run_that_the_store_lost_is_replaced_and_a_sentence_says_so(
    tracking: Tracking, deleted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = "c0ffee"
    if deleted:
        with run(tracking, "pretrain", Config()) as record:
            lost = record.run_id
        MlflowClient(tracking.store).delete_run(lost)
    with run(tracking, "pretrain", Config(), resume=lost) as record:
        assert record.run_id != lost
    assert f"The MLflow run {lost} is not in the store {tracking.store} any more" in capsys.readouterr().out


def test_a_run_whose_process_ends_without_unwinding_is_told_as_failed(tracking: Tracking) -> None:
    with run(tracking, "pretrain", Config()) as record:
        watch.speak_last_words(1, "Rank 1 is gone.")
        assert last_run(tracking).info.status == "FAILED"
    assert record.run_id == last_run(tracking).info.run_id


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_nobody_could_end_is_marked_and_one_that_ended_stays_what_it_is(
    tracking: Tracking, status: str
) -> None:
    with run(tracking, "pretrain", Config()) as record:
        mark(tracking.place, record.run_id, status)
        assert last_run(tracking).info.status == status
    mark(tracking.place, record.run_id, status)
    assert last_run(tracking).info.status == "FINISHED"


def test_a_handler_that_was_set_within_a_run_stays(tracking: Tracking) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with run(tracking, "pretrain", Config()):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_registered_model_gets_versions_and_its_alias_moves_to_the_newest(tracking: Tracking, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/MLmodel").write_text("flavors: {}")
    versions = []
    with run(tracking, "register", Config()) as record:
        for alias in ("champion", "", "champion"):
            versions.append(record.register(tmp_path / "model", "parsers", alias, {"weights": "abc"}))
        with pytest.raises(Refusal, match=r"MLflow takes, but 'parsers' with alias 'v1' is not .*reserved"):
            record.register(tmp_path / "model", "parsers", "v1", {})
    client = MlflowClient(tracking.store)
    assert versions == ["1", "2", "3"]
    newest = client.get_model_version_by_alias("parsers", "champion")
    assert (str(newest.version), newest.tags["weights"], newest.run_id) == ("3", "abc", record.run_id)
    assert {file.path for file in client.list_artifacts(record.run_id, "model")} == {"model/MLmodel"}


def test_a_rank_that_does_not_lead_registers_nothing(tmp_path: Path) -> None:
    assert Record(None).register(tmp_path, "parsers", "champion", {}) == ""
