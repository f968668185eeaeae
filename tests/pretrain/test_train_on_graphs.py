"""A run names the positives it was given, goes on with no others, and takes none that were altered."""

import shutil
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from graph.components import FILE
from graph.groups import GROUPS
from launch.refusal import Refusal
from launch.tracking import Tracking
from launch.world import World
from pretrain.model import describe_encoder
from pretrain.train import Config, check, main
from tests.pretrain.conftest import chosen, weights


def test_a_run_on_two_components_a_snippet_says_so_and_goes_on_bit_for_bit(
    two_ways, runs: Path, alone: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    for name, stops in (("whole", (None,)), ("parts", (3, None))):
        for stop in stops:
            given = chosen(two_ways, runs, tmp_path / name) | {"stop_after": stop}
            main(Config.model_validate(given | {"batches": {"global_batch": 20, "per_group": 2}}))
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert f"from '{two_ways.components}' (closure per_modality, refine none)" in capsys.readouterr().out
    assert describe_encoder(tmp_path / "whole" / "encoder").provenance["closure"] == "per_modality"


def test_a_run_does_not_resume_on_another_closure(planted, two_ways, runs: Path, alone: World, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path)
    main(Config.model_validate(given | {"stop_after": 1}))
    with pytest.raises(Refusal, match=r"'components' is .* now: restore --components"):
        main(Config.model_validate(given | {"components": two_ways.components}))


def test_the_tracked_run_names_the_closure(planted, runs: Path, alone: World, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path) | {"steps": 1, "tracking": {"root": runs, "experiment": "closure"}}
    main(Config.model_validate(given))
    client = MlflowClient(Tracking(root=runs).store)
    (run,) = client.search_runs([client.get_experiment_by_name("closure").experiment_id])
    assert (run.data.tags["closure"], run.data.tags["refine"]) == ("joint", "none")


@pytest.mark.parametrize("name", [FILE, GROUPS])
def test_an_altered_graph_is_refused_before_any_process_starts(planted, runs: Path, tmp_path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
    graph = shutil.copytree(planted.components, tmp_path / "graph")
    given = chosen(planted, runs, tmp_path / "out") | {"components": graph, "batches": {"per_group": 2}}
    check(Config.model_validate(given))
    content = bytearray((graph / name).read_bytes())
    content[-1] ^= 1
    (graph / name).write_bytes(content)
    with pytest.raises(Refusal, match=f"'{graph / name}' is missing or was altered"):
        check(Config.model_validate(given))
