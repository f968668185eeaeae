"""Tracking: every stage is one MLflow run in one experiment, in a sqlite store under the run root or on a server.

    make ui        # or: mlflow ui --backend-store-uri sqlite:///runs/mlflow.db --host 127.0.0.1

The only room that talks to a store (`finetune.served` makes models for it). Only global rank 0 writes; every other rank
gets a record that does nothing.
"""

import os

for _switch in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(_switch, "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a run's page is said once, at its beginning
for _limit, _value in (("TIMEOUT", "10"), ("MAX_RETRIES", "0")):  # seconds; the writer tries again by itself
    os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{_limit}", _value)

from launch.tracking.begin import prepare  # noqa: E402
from launch.tracking.lifetime import mark, run  # noqa: E402  # the switches are read when mlflow is imported
from launch.tracking.lineage import Thing  # noqa: E402
from launch.tracking.record import Record  # noqa: E402
from launch.tracking.settings import Tracking  # noqa: E402

__all__ = ["Record", "Thing", "Tracking", "mark", "prepare", "run"]
