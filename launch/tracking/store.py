"""The store that holds runs, made by one process before any other opens it."""

import fcntl
import logging
from typing import TYPE_CHECKING

from launch.tracking.settings import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient


def open_store(tracking: Tracking) -> tuple["MlflowClient", str]:
    """The store, and the experiment's id in it."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    tracking.root.mkdir(parents=True, exist_ok=True)
    with (tracking.root / ".store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes that open a fresh sqlite store at once all die: one creates it
        client = MlflowClient(tracking.store)
        found = client.get_experiment_by_name(tracking.experiment)
        artifacts = (tracking.root.absolute() / "artifacts").as_uri()
        return client, found.experiment_id if found else client.create_experiment(tracking.experiment, artifacts)
