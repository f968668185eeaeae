"""The whole chain as a user runs it: every stage its own process, pre-training two under the deepspeed launcher."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from safetensors.numpy import load_file

from launch import demo
from launch.tracking import Tracking, trace
from shards.read import open_sets

TINY = demo.Size(
    corpus=("--train", "40", "--validation", "12", "--test", "12", "--resnet_rows", "10"),
    pretrain=("--epochs", "1"),
    training=("--training.epochs", "1"),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, monkeymodule: pytest.MonkeyPatch) -> Path:
    """The folder of a demo that ran from the first stage to the table."""
    folder = tmp_path_factory.mktemp("demo")
    monkeymodule.setitem(demo.SIZES, "small", TINY)
    monkeymodule.setattr(demo, "TABLES_HERE", folder / "none")
    monkeymodule.delenv("LLP_TABLES", raising=False)
    demo.main(demo.Config(size="small", out=folder, processes=2, tracking=Tracking(root=folder / "runs")))
    return folder


@pytest.fixture(scope="module")
def monkeymodule() -> "pytest.MonkeyPatch":  # type: ignore[misc]
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.timeout(900)
def test_every_stage_leaves_its_files(out: Path) -> None:
    assert {path.name for path in out.iterdir()} == {
        "corpus", "embeddings", "graph", "parsers", "pretrain", "runs", "scores", "shards",
    }  # fmt: skip
    assert load_file(out / "pretrain" / "encoder" / "encoder.safetensors")
    for row in demo.ROWS:
        scores = json.loads((out / "scores" / row.config / "scores.json").read_text())
        assert scores["videos"] == 12
        assert all(0 <= scores[level][kind] <= 100 for level in ("segment", "event") for kind in demo.KINDS)
        assert "subset: not comparable with the paper" in scores["protocol"]["coverage"]
        assert (out / "scores" / row.config / "categories.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_names_its_rows_and_what_it_may_be_compared_with(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.show(out, "small", real=False)
    shown = capsys.readouterr().out
    assert "subset: not comparable with the paper" in shown
    for row in demo.ROWS:
        scores = json.loads((out / "scores" / row.config / "scores.json").read_text())
        line = next(line for line in shown.splitlines() if row.name in line)
        assert f"{scores['segment']['audio']:.1f}" in line
        assert f"{scores['event']['event_at_av']:.1f}" in line


def test_embeddings_are_shards_of_the_same_videos(out: Path) -> None:
    raw, embedded = open_sets(out / "shards"), open_sets(out / "embeddings")
    assert {name: each.keys for name, each in raw.items()} == {name: each.keys for name, each in embedded.items()}
    for name, shards in embedded.items():
        assert set(shards.manifest.features) == {"pretrained_audio", "pretrained_visual"}
        assert raw[name].manifest.digest in json.dumps(dict(shards.manifest.source))


def test_a_parser_leads_back_to_the_corpus_over_embeddings_encoder_components_and_shards(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    trace.main(trace.Config(of=out / "parsers/pretrain_multi", tracking=Tracking(root=out / "runs")))
    told = capsys.readouterr().out
    first = [line.strip("│├└─ ").partition(" ← ") for line in told.splitlines() if "as above" not in line]
    steps = [(thing.split()[0], by.split()[0]) for thing, _, by in first]
    assert steps[0] == ("parser", "finetune")
    for step in (("shards", "export"), ("encoder", "pretrain"), ("components", "graph"), ("shards", "pack")):
        assert step in steps
    assert ("corpus", "synthesise") in steps
    assert "no run in this store" not in told


def test_every_stage_is_a_finished_run_of_one_experiment(out: Path) -> None:
    client = MlflowClient(Tracking(root=out / "runs").store)
    experiment = client.get_experiment_by_name("soundsight")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    stages = [run.data.tags["stage"] for run in runs]
    assert sorted(stages) == sorted(
        ["synthesise", "pack", "graph", "pretrain", "export", *["finetune", "evaluate"] * len(demo.ROWS)]
    )
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        names = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"settings.json", "packages.txt"} <= names
        assert ("deepspeed.json" in names) == (run.data.tags["stage"] == "pretrain")
        assert bool(run.inputs.dataset_inputs) == (run.data.tags["stage"] != "synthesise")
