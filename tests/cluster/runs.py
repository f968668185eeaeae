"""Stages over the hosts of a cluster, on a planted corpus small enough to train on in seconds."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from launch.tracking import Tracking
from pretrain.model import load_encoder
from tests.cluster.hosts import Cluster
from tests.pretrain.conftest import Planted

SETTINGS = """
shards = "{shards}"
components = "{components}"
steps = {steps}
evaluate_every = 1000
model = {{ layers = 2, width = 16, heads = 2, dropout = 0 }}
engine = {{ zero_stage = 1, warm_up = 2 }}
batches = {{ global_batch = 20 }}
checkpoints = {{ every = 2, keep = 100 }}
job = {{ lost_after = 8, wait_for_hosts = 60, threads = 1 }}
"""
STEPS = 40
PYTHON = [sys.executable, "-m", "launch"]


@dataclass(frozen=True)
class Bench:
    """A cluster with a corpus that all hosts read."""

    cluster: Cluster
    planted: Planted

    def pretrain(self, name: str, hostfile: Path | None, *words: str, steps: int = STEPS) -> list[str]:
        """The command that trains over the hosts of a file, or on one host alone; it writes to `shared/name`."""
        file = self.cluster.shared / f"{name}.toml"
        file.write_text(SETTINGS.format(shards=self.planted.shards, components=self.planted.components, steps=steps))
        over = ["--on", "hostfile", "--job.hostfile", str(hostfile)] if hostfile else []
        places = ["--out", str(self.cluster.shared / name), "--tracking.root", str(self.runs(name))]
        return [*PYTHON, "pretrain", str(file), *places, *over, *words]

    def runs(self, name: str) -> Path:
        """Where a run is recorded."""
        return self.cluster.shared / f"{name}-runs"

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """Of the encoder that a run wrote."""
        return load_encoder(self.cluster.shared / name / "encoder").state_dict()

    def losses(self, name: str) -> dict[int, float]:
        """Of every step of a run, from its MLflow store."""
        client = MlflowClient(Tracking(root=self.runs(name)).store)
        experiment = client.get_experiment_by_name("soundsight")
        (run,) = client.search_runs([experiment.experiment_id])
        return {point.step: point.value for point in client.get_metric_history(run.info.run_id, "loss")}


def said(lines: str, part: str) -> Sequence[str]:
    """The lines that hold a part."""
    return [line for line in lines.splitlines() if part in line]


def clock_ahead(seconds: int) -> dict[str, str]:
    """The variables by which a process finds the clock so far ahead; the test is skipped where that is impossible."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed (apt-get install faketime)")
    return {"LD_PRELOAD": str(library), "FAKETIME": f"+{seconds}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
