"""A run ends with a truthful status and holds what was logged; only the leading rank writes."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from launch.settings import Settings
from launch.tracking import Record, Tracking, run


class Inner(Settings):
    width: int = 3


class Config(Settings):
    inner: Inner = Inner()
    name: str = "x"


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    return Tracking(root=tmp_path_factory.mktemp("runs"))


def last_run(tracking: Tracking) -> Run:
    client = MlflowClient(tracking.uri)
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
    found, client = last_run(tracking), MlflowClient(tracking.uri)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"inner.width": "3", "name": "x"}
    assert found.data.tags["manifest"] == "abc"
    points = client.get_metric_history(found.info.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(1, 0.5), (2, 0.25)]
    names = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert names == {"settings.json", "scores.json", "notes.txt"}


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
