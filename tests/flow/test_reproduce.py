"""The tables from raw features as a user makes them: graph, encoder, embeddings, parsers, scores, each a process."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from finetune import reproduce
from launch.__main__ import main as launch
from launch.chain import words
from launch.tracking import Tracking
from pretrain.model import describe_encoder
from shards.manifest import Manifest

ROWS = ("pretrain_multi", "pretrain_multi_end_to_end")
ENCODER = "epochs = 1\n[model]\nlayers = 1\nwidth = 16\nheads = 2\n[batches]\nglobal_batch = 16\nheld_out = 8\n"
PARSER = "[parser]\nwidth = 16\nhidden = 16\n[training]\nbatch = 8\nepochs = 1\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> reproduce.Config:
    """Settings by which both rows were made, from a planted corpus alone."""
    work = tmp_path_factory.mktemp("tables")
    tracked = Tracking(root=work / "runs")
    sizes = words(train=40, validation=8, test=8, layout="shards", out=work / "corpus")
    assert launch(["synthesise", *sizes, *words(**{"tracking.root": tracked.root})]) == 0
    raw = work / "raw"
    raw.mkdir()
    for split in ("train", "validation", "test"):
        (raw / split).symlink_to(work / "corpus" / split)
    (work / "encoder.toml").write_text(ENCODER)
    (work / "parser.toml").write_text(PARSER)
    made = reproduce.Config(
        shards=str(raw),
        tables=work / "corpus" / "tables",
        rows=ROWS,
        out=work / "out",
        results=work / "results.jsonl",
        pretraining=work / "encoder.toml",
        over=(work / "parser.toml",),
        processes=1,
        tracking=tracked,
    )
    reproduce.main(made)
    return made


@pytest.mark.timeout(900)
def test_both_rows_are_scored_on_the_encoder_that_was_made_for_them(config: reproduce.Config) -> None:
    assert config.results
    lines = [json.loads(line) for line in config.results.read_text().splitlines()]
    encoder = describe_encoder(config.out / "encoders" / "multi" / "encoder")
    assert [line["row"] for line in lines] == list(ROWS)
    assert {line["encoder"] for line in lines} == {encoder.digest}
    assert all(0 <= score <= 100 for line in lines for level in ("segment", "event") for score in _five(line, level))
    assert encoder.provenance["manifest"] == Manifest.read(Path(config.shards) / "train").digest


def test_embeddings_are_of_that_encoder_and_of_the_raw_videos(config: reproduce.Config) -> None:
    for split in ("train", "validation", "test"):
        embedded = Manifest.read(config.out / "embeddings" / "multi" / split)
        assert embedded.source["encoder"] == describe_encoder(config.out / "encoders" / "multi" / "encoder").digest
        assert embedded.source["manifest"] == Manifest.read(Path(config.shards) / split).digest


def test_every_stage_on_the_way_is_a_finished_run_inside_the_one_of_the_tables(config: reproduce.Config) -> None:
    client = MlflowClient(config.tracking.store)
    experiment = client.get_experiment_by_name("soundsight")
    assert experiment
    runs = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    stages = sorted(run.data.tags["stage"] for run in runs.values())
    each = ["evaluate", "finetune", "trial"]
    assert stages == sorted(["synthesise", "reproduce", "graph", "pretrain", "export", *each, *each])
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parents = {run.data.tags["stage"]: run.data.tags.get("mlflow.parentRunId") for run in runs.values()}
    tables = next(run_id for run_id, run in runs.items() if run.data.tags["stage"] == "reproduce")
    assert {parents[stage] for stage in ("graph", "pretrain", "export", "trial")} == {tables}


def _five(line: dict, level: str) -> list[float]:
    return list(line["scores"][level].values())
