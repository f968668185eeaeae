"""The beginning of a run: in the store where it answers, and in the journal where it does not."""

import os
import socket
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from launch.progress import say
from launch.refusal import Refusal
from launch.tracking import address
from launch.tracking.delivery import Delivery
from launch.tracking.held import Busy
from launch.tracking.journal import Journal, Operation
from launch.tracking.redact import redacted_address
from launch.tracking.replay import Replayed, replay
from launch.tracking.settings import PARENT, Tracking
from launch.tracking.shelf import parked
from launch.tracking.store import (
    BEGUN_AS,
    Unreachable,
    answered,
    artifacts,
    check_root,
    connect,
    find,
    open_store,
    unwritable,
)
from launch.tracking.writer import Writer

if TYPE_CHECKING:
    from mlflow import MlflowClient

VARIABLE = "MLFLOW_TRACKING_URI"


def prepare(tracking: Tracking) -> None:
    """Makes the store before any process that shares it starts, and sends what earlier ones left under the root.

    Raises Refusal where the run root cannot be written, or the experiment was deleted.
    """
    try:
        open_store(tracking)
        _tell(replay(tracking.root, tracking.store), tracking)
    except Unreachable:
        pass  # the process that writes the run says so


def begun(tracking: Tracking, stage: str, resume: str) -> Writer:
    """The writer of a run that is RUNNING in the store, or that waits in its journal where the store does not answer.

    Raises Refusal where the run root cannot be written, the parent does not exist, or another process writes the run.
    """
    check_root(tracking)
    _say_what_is_not_read(tracking)
    first = _first(tracking, stage, resume)
    lost = ""
    try:
        first["id"] = _in_store(tracking, first, resume)
    except Unreachable as error:
        lost = str(error)
    journal = _journal(tracking, first["id"])
    journal.begin(first)
    writer = Writer(
        journal,
        lambda: Delivery(connect(tracking.store), journal, tracking.root, live=True),
        redacted_address(tracking.store),
    )
    if lost:
        writer.lost(lost)
    return writer


def _first(tracking: Tracking, stage: str, resume: str) -> Operation:
    """The first operation: all that is needed to begin the run, and where its process is."""
    parent = {PARENT: tracking.parent} if tracking.parent else {}
    return {
        "do": "begin",
        "id": resume or uuid4().hex,
        "time": time.time_ns() // 1_000_000,
        "store": tracking.store,
        "experiment": tracking.experiment,
        "artifacts": artifacts(tracking),
        "name": f"{stage} {tracking.name}".strip(),
        "tags": {"stage": stage, **parent},
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


def _in_store(tracking: Tracking, first: Operation, resume: str) -> str:
    """The id under which the store has the run, which is made if need be; raises Unreachable."""
    client, experiment = open_store(tracking)
    _tell(replay(tracking.root, tracking.store), tracking)
    _check_parent(client, tracking)
    if resume and parked(tracking.root, resume):
        return resume  # what is left of it goes first
    if resume and (found := find(client, resume)):
        with answered():
            client.update_run(found.info.run_id, "RUNNING")
        return _shown(tracking, found.info.experiment_id, found.info.run_id)
    if resume:
        place = redacted_address(tracking.store)
        say(f"The MLflow run {resume} is not in the store {place} any more: a new one goes on in its place.")
        first["id"] = uuid4().hex
    with answered() as answer:
        tags = first["tags"] | {BEGUN_AS: first["id"]}
        made = client.create_run(experiment, first["time"], tags, first["name"])
        return _shown(tracking, experiment, made.info.run_id)
    raise Unreachable(answer.refusal)


def _shown(tracking: Tracking, experiment: str, run_id: str) -> str:
    """The id, after a server's page of the run is said."""
    if tracking.uri.startswith(address.SERVERS):
        say(f"The run's page: {tracking.uri.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}")
    return run_id


def _check_parent(client: "MlflowClient", tracking: Tracking) -> None:
    if tracking.parent and not parked(tracking.root, tracking.parent) and find(client, tracking.parent) is None:
        raise Refusal(
            f"tracking.parent must be the id of a run in the store, but '{tracking.parent}' is none in "
            f"{redacted_address(tracking.store)}: give the id that MLflow shows on the run's page, or leave it empty."
        )


def _journal(tracking: Tracking, run_id: str) -> Journal:
    try:
        return Journal(tracking.root, run_id)
    except Busy:
        raise Refusal(
            f"A run must be written by one process at a time, but another is writing the run {run_id} under "
            f"'{tracking.root}': wait for it, or end it."
        ) from None
    except OSError as error:
        raise unwritable(tracking, error) from None


def _tell(found: Replayed, tracking: Tracking) -> None:
    if found.runs and found.operations:
        say(
            f"Sent {found.operations:,} operations of {found.runs} earlier run{'s' if found.runs > 1 else ''} from "
            f"'{tracking.root}' to the store {redacted_address(tracking.store)}."
        )


def _say_what_is_not_read(tracking: Tracking) -> None:
    """A store that only the environment names would not be in the settings that a run shows."""
    named = os.environ.get(VARIABLE, "")
    if named and not tracking.uri and named != tracking.store:
        say(
            f"{VARIABLE} names {redacted_address(named)}, but runs go to {redacted_address(tracking.store)}, since "
            f'tracking.uri is empty: --tracking.uri "${VARIABLE}" sends them there.'
        )
