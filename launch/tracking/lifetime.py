"""The life of a run, from its first line to a truthful status, whatever ends it."""

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from launch.progress import say
from launch.ranks import watch
from launch.ranks.roster import Roster
from launch.settings import Settings
from launch.tracking.record import Record
from launch.tracking.settings import PARENT, Tracking
from launch.tracking.store import open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient


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
    client, experiment = open_store(tracking)
    goes_on = _goes_on(client, resume, tracking)
    run_id = resume if goes_on else _create(client, experiment, tracking, stage)
    if tracking.parent:  # also of one that goes on: what it is part of may have begun anew
        client.set_tag(run_id, PARENT, tracking.parent)
    if roster := Roster.of_environment():
        roster.note_run(tracking.store, run_id)
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
