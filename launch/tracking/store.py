"""The store that holds runs, made by one process before any other opens it, and what its answers mean."""

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launch.refusal import Refusal
from launch.tracking import address
from launch.tracking.redact import redacted
from launch.tracking.settings import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

BEGUN_AS = "begun_as"
"""The tag with the id that a run had before the store knew of it."""
CONNECT = "10"
"""Seconds in which a PostgreSQL server must take a connection, unless the environment says otherwise."""
REFUSING = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")
"""The codes by which a store says that a request itself is wrong; sent again it would be wrong again."""


class Unreachable(Exception):
    """The store did not answer, or not as a store that is well does; the same request may succeed later."""


class NotYet(Unreachable):
    """The store answers, but cannot take this run before something else has happened; others it can."""


@dataclass
class Answer:
    """What a store said."""

    refusal: str = ""
    """Why it refused; empty where it did what was asked."""


@contextmanager
def answered() -> Iterator[Answer]:
    """The answer to what is asked inside; raises Unreachable where there is none."""
    answer = Answer()
    try:
        yield answer
    except (Refusal, Unreachable):
        raise
    except FileNotFoundError as error:
        answer.refusal = f"'{error.filename}' is gone"
    except Exception as error:  # of mlflow, sqlalchemy, requests, a driver, a disk
        if getattr(error, "error_code", "") not in REFUSING:
            raise Unreachable(reason(error)) from None
        answer.refusal = reason(error)


def reason(error: BaseException) -> str:
    """What an error of a store says, in one line; of a connection's only the part that a user can act on."""
    text = " ".join(redacted(str(getattr(error, "message", "") or error)).split())
    if found := re.search(r"\[Errno -?\d+\] ([^'\")]+)|(timed out)", text):
        return found[1] or found[2]
    return f"{text[:300]}…" if len(text) > 300 else text.rstrip(".") or type(error).__name__


def connect(uri: str) -> "MlflowClient":
    """A client of a store; raises Unreachable for a database that cannot be opened, which is tried once."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    if uri.startswith(address.DATABASES):
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = 1  # it would try ten times, for minutes; who asks tries again, and works meanwhile
        os.environ.setdefault("PGCONNECT_TIMEOUT", CONNECT)
    try:
        return MlflowClient(uri)
    except Exception as error:
        raise Unreachable(reason(error)) from None


def open_store(tracking: Tracking) -> tuple["MlflowClient", str]:
    """The store, and the experiment's id in it; both are made if need be.

    Raises Unreachable where the store does not answer, and Refusal for an experiment that was deleted.
    """
    check_root(tracking)
    with (tracking.root / ".store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes that open a fresh sqlite store at once all die: one creates it
        client = connect(tracking.store)
        return client, experiment_id(client, tracking.experiment, artifacts(tracking))


def artifacts(tracking: Tracking) -> str:
    """The folder of artifacts; empty where a server keeps them."""
    if tracking.uri and not tracking.uri.startswith(address.DATABASES):
        return ""
    return (tracking.root.absolute() / "artifacts").as_uri()


def check_root(tracking: Tracking) -> None:
    """Makes the run root; raises Refusal where nothing can be written there."""
    try:
        tracking.root.mkdir(parents=True, exist_ok=True)
        (tracking.root / ".store.lock").open("w").close()
    except OSError as error:
        raise unwritable(tracking, error) from None


def unwritable(tracking: Tracking, error: OSError) -> Refusal:
    """What is said of a run root in which nothing can be written."""
    return Refusal(
        f"A run root must be a folder that can be written, but '{tracking.root}' is not ({error.strerror}): mend it, "
        "or give another --tracking.root."
    )


def find(client: "MlflowClient", run_id: str) -> "Run | None":
    """The run of this id, or the one that began by this id when the store did not answer; None where there is none.

    Raises Unreachable.
    """
    if not run_id.isalnum():
        return None
    with answered():
        run = client.get_run(run_id)
        return run if run.info.lifecycle_stage == "active" else None
    with answered():
        experiments = [each.experiment_id for each in client.search_experiments()]
        found = client.search_runs(experiments, f"tags.{BEGUN_AS} = '{run_id}'", max_results=1)
        return found[0] if found else None
    return None


def experiment_id(client: "MlflowClient", name: str, artifacts: str) -> str:
    """The id of an experiment, which is made if need be; `artifacts`: where its files go, empty where a server knows.

    Raises Unreachable, and Refusal for an experiment that was deleted or cannot be.
    """
    with answered() as answer:
        found = client.get_experiment_by_name(name)
        if found is None:
            return client.create_experiment(name, artifacts or None)
        if found.lifecycle_stage == "active":
            return found.experiment_id
        remedy = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        answer.refusal = f"it was deleted; `{remedy}` restores it"
    raise Refusal(
        f"An MLflow experiment must be one that runs can be in, but '{name}' is not ({answer.refusal}): restore it, or "
        "give another --tracking.experiment."
    )
