"""A run goes on with another number of ranks as if it had kept its own: same batches, losses equal to rounding."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from launch.tracking import Tracking
from pretrain.train import Config, main
from tests.pretrain.conftest import STEPS, chosen, plant, weights

WORKER = Path(__file__).with_name("train_worker.py")


@pytest.fixture(scope="module")
def folder(start_ranks: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where three runs of the same settings, without dropout, have written their encoders."""
    folder = tmp_path_factory.mktemp("resume")
    given = chosen(plant(folder), folder / "runs", folder / "one")
    given |= {"model": given["model"] | {"dropout": 0}, "evaluate_every": 1000}
    main(_config(given, "one"))
    main(_config(given, "begun", stop_after=2))
    start_ranks(2, WORKER, _written(folder, given, "begun", stop_after=2))
    for name in ("one-two-one", "one-two-four"):
        shutil.copytree(folder / "begun", folder / name)
    main(_config(given, "one-two-one"))
    start_ranks(4, WORKER, _written(folder, given, "one-two-four"))
    return folder


def _config(given: Mapping[str, Any], name: str, **more: Any) -> Config:
    tracking = given["tracking"] | {"experiment": "begun" if name.startswith("one-") else name}
    return Config.model_validate({**given, "out": given["out"].with_name(name), "tracking": tracking, **more})


def _written(folder: Path, given: Mapping[str, Any], name: str, **more: Any) -> Path:
    file = folder / f"{name}.json"
    file.write_text(_config(given, name, **more).model_dump_json())
    return file


@pytest.mark.parametrize("name", ["one-two-one", "one-two-four"])
def test_the_encoder_is_that_of_one_rank_to_rounding(folder: Path, name: str) -> None:
    expected, found = weights(folder / "one"), weights(folder / name)
    assert set(found) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=2e-6)


def test_losses_are_those_of_one_rank_to_rounding_and_lie_in_the_run_that_began(folder: Path) -> None:
    client = MlflowClient(Tracking(root=folder / "runs").store)

    def losses(experiment: str) -> list[tuple[int, float]]:
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        (run,) = client.search_runs([found.experiment_id])
        return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")]

    expected, found = dict(losses("one")), losses("begun")
    assert sorted(expected) == list(range(STEPS))
    assert sorted(step for step, _ in found) == list(range(STEPS)), "the last two were done twice, by 1 and by 4 ranks"
    for step, loss in found:
        assert loss == pytest.approx(expected[step], rel=1e-5)


def test_checkpoints_say_how_many_ranks_wrote_them(folder: Path) -> None:
    for step, ranks in ((2, 1), (4, 2), (6, 4)):
        state = json.loads((folder / "one-two-four" / "checkpoints" / f"step-{step:08d}" / "state.json").read_text())
        assert (state["done"], state["processes"]) == (step, ranks)
