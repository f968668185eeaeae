"""A build that is killed in the middle goes on from what it had finished, and gives the same graph."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from graph.build import Config, main
from graph.forests.forest import Forest
from launch.tracking import Tracking
from shards.read import Shards

WORKER = Path(__file__).with_name("killed_build.py")


@pytest.mark.timeout(400)
def test_a_build_killed_twice_ends_as_if_it_had_never_been(
    shard_set: Callable[..., Shards], scenes: Callable[..., dict[str, np.ndarray]], tmp_path: Path
) -> None:
    shards = shard_set(scenes(40))
    settings = {"shards": str(shards.location), "tracking": {"root": str(tmp_path / "runs")}, "search": {"k": 8}}
    (tmp_path / "config.json").write_text(json.dumps(settings | {"out": str(tmp_path / "killed")}))

    def run(notes: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(WORKER), str(tmp_path / "config.json"), str(notes)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
                              env={"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip

    assert run(3).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    second = run(25)  # beyond the first modality's tasks, into the second's
    assert second.returncode == -signal.SIGKILL, second.stderr
    assert "Going on with the vggish search where it was left, after 3 steps" in second.stdout
    third = run(10_000)
    assert third.returncode == 0, third.stderr
    assert "Going on with the resnet152 search" in third.stdout
    tracking = Tracking(root=tmp_path / "runs")
    client = MlflowClient(tracking.store)
    (told,) = client.search_runs([client.get_experiment_by_name(tracking.experiment).experiment_id])  # type: ignore[union-attr]
    assert told.info.status == "FINISHED", "three starts, one run"
    main(Config.model_validate(settings | {"out": tmp_path / "whole"}))
    for name in ("audio", "visual"):
        one, other = (Forest.load(tmp_path / folder / f"forest_{name}.parquet")[0] for folder in ("killed", "whole"))
        np.testing.assert_array_equal(one.edges.similarity, other.edges.similarity)
        np.testing.assert_array_equal(one.edges.first, other.edges.first)
    assert not list(tmp_path.glob(".killed*"))
