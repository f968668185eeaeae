"""Tracking: every stage is one MLflow run in one experiment, on a sqlite store under the run root.

    make ui        # or: mlflow ui --backend-store-uri sqlite:///runs/mlflow.db --host 127.0.0.1

The only file that talks to a store (`finetune.served` makes models for it). Only global rank 0 writes; every other rank
gets a record that does nothing.
"""

import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from launch import watch
from launch.progress import say
from launch.refusal import Refusal
from launch.roster import Roster
from launch.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

for _switch in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(_switch, "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


PARENT = "mlflow.parentRunId"
"""The tag by which MLflow shows a run inside another."""


class Tracking(Settings):
    """Where runs are recorded."""

    root: Path = Field(Path("runs"), description="folder of the MLflow store (mlflow.db) and its artifacts")
    experiment: str = Field("soundsight", description="MLflow experiment that holds the run")
    name: str = Field("", description="what the run is called after its stage, such as a config's name")
    parent: str = Field("", description="id of the MLflow run that this one is part of; empty: it stands alone")

    @property
    def uri(self) -> str:
        """The address of the store, as mlflow wants it."""
        return f"sqlite:///{self.root.absolute() / 'mlflow.db'}"


class Record:
    """One run being written. Without a client (a rank that does not lead) every method does nothing."""

    def __init__(self, client: "MlflowClient | None", run_id: str = "") -> None:
        self._client, self.run_id = client, run_id

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one point to each named curve."""
        if self._client:
            from mlflow.entities import Metric

            now = time.time_ns() // 1_000_000
            points = [Metric(name, float(value), now, step) for name, value in values.items()]
            self._client.log_batch(self.run_id, metrics=points)

    def artifact(self, path: Path) -> None:
        """Copies a file, or a folder under its own name, into the run."""
        if self._client and path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), path.name)
        elif self._client:
            self._client.log_artifact(self.run_id, str(path))

    def text(self, name: str, content: str) -> None:
        """Writes a small text file (name with its suffix) into the run."""
        if self._client:
            self._client.log_text(self.run_id, content, name)

    def skipped(self, step: int, faults: Collection[str]) -> None:
        """Counts the videos that were skipped so far, and lists and says why: one sentence a video."""
        self.metrics(step, {"skipped_videos": len(faults)})
        if faults:
            self.text("skipped.txt", "\n".join(faults) + "\n")
            first = next(iter(faults))
            say(f"Skipped {len(faults)} videos, which are listed in the run's skipped.txt. The first: {first}")

    def figure(self, name: str, figure: "Figure") -> None:
        """Writes a matplotlib figure (name with its suffix) into the run."""
        if self._client:
            self._client.log_figure(self.run_id, figure, name)

    def register(self, model: Path, name: str, alias: str, tags: Mapping[str, str]) -> str:
        """Copies a model's folder into the run and makes it the newest version of the registered model; its number.

        An alias that is not "" points to it from now on, and to no version before. Raises Refusal for a name or an
        alias that MLflow does not take.
        """
        if not self._client:
            return ""
        from mlflow.exceptions import MlflowException

        self.artifact(model)
        source = f"{self._client.get_run(self.run_id).info.artifact_uri}/{model.name}"
        try:
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            version = self._client.create_model_version(name, source, self.run_id, dict(tags)).version
            if alias:
                self._client.set_registered_model_alias(name, alias, version)
        except MlflowException as error:
            raise Refusal(
                f"A model must be registered under a name and an alias that MLflow takes, but '{name}' with alias "
                f"'{alias}' is not ({error.message.rstrip('.')}): give another --name or --alias."
            ) from None
        return str(version)

    def tags(self, values: Mapping[str, str]) -> None:
        """Sets tags: short facts to find the run by, such as the digests of what it read."""
        if self._client:
            for name, value in values.items():
                self._client.set_tag(self.run_id, name, value)


@contextlib.contextmanager
def run(tracking: Tracking, stage: str, settings: Settings, leads: bool = True, resume: str = "") -> Iterator[Record]:
    """One MLflow run around a stage; it holds the resolved settings and ends with a truthful status.

    FINISHED at a clean end, FAILED on an exception, KILLED on an interrupt, SIGTERM, SIGHUP or an asked-for exit.
    `resume` is the id of a run to go on with, in which these settings were logged before; where the store does not
    have it, a new one begins, and a sentence says so.
    """
    if not leads:
        yield Record(None)
        return
    client, experiment = _open(tracking)
    goes_on = _goes_on(client, resume, tracking)
    run_id = resume if goes_on else _create(client, experiment, tracking, stage)
    if tracking.parent:  # also of one that goes on: what it is part of may have begun anew
        client.set_tag(run_id, PARENT, tracking.parent)
    if roster := Roster.of_environment():
        roster.note_run(tracking.uri, run_id)
    status = "FAILED"
    try:
        with _terminated_as_exit(), watch.last_words(lambda *_: client.set_terminated(run_id, "FAILED")):
            record = Record(client, run_id)
            _log_settings(record, client, settings, goes_on)
            yield record
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        client.set_terminated(run_id, status)


def mark(uri: str, run_id: str, status: str) -> None:
    """Ends a run with a status where nobody else could, since its process was killed; others stay as they are."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, status)


def _open(tracking: Tracking) -> tuple["MlflowClient", str]:
    """The store, and the experiment's id in it."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    tracking.root.mkdir(parents=True, exist_ok=True)
    with (tracking.root / ".store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes that open a fresh sqlite store at once all die: one creates it
        client = MlflowClient(tracking.uri)
        found = client.get_experiment_by_name(tracking.experiment)
        artifacts = (tracking.root.absolute() / "artifacts").as_uri()
        return client, found.experiment_id if found else client.create_experiment(tracking.experiment, artifacts)


def _create(client: "MlflowClient", experiment: str, tracking: Tracking, stage: str) -> str:
    created = client.create_run(experiment, run_name=f"{stage} {tracking.name}".strip(), tags={"stage": stage})
    return created.info.run_id


def _goes_on(client: "MlflowClient", run_id: str, tracking: Tracking) -> bool:
    """Whether the store has a run of this id; then it is running again."""
    from mlflow.exceptions import MlflowException

    if not run_id:
        return False
    try:
        there = client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        there = False
    if there:
        client.update_run(run_id, "RUNNING")
    else:
        say(f"The MLflow run {run_id} is not in '{tracking.root}' any more: a new one goes on in its place.")
    return there


def _log_settings(record: Record, client: "MlflowClient", settings: Settings, goes_on: bool) -> None:
    record.text("settings.json", settings.model_dump_json(indent=2))
    record.tags({"command": " ".join(sys.argv)})
    if goes_on:  # parameters cannot change, and those that may, such as the number of processes, are in settings.json
        return
    from mlflow.entities import Param

    flat = _flatten(settings.model_dump(mode="json"))
    client.log_batch(record.run_id, params=[Param(name, str(value)[:6000]) for name, value in flat.items()])


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


@contextlib.contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """While inside, SIGTERM and SIGHUP raise SystemExit, so that `finally` blocks run and the status is written.

    A stage that handles one of them itself keeps its handler, also one that it sets inside for good.
    """

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    ours = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is leave:
                signal.signal(number, signal.SIG_DFL)
