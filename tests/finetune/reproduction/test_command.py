"""The paper's tables in one command on a tiny corpus, by the real stages."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from finetune import reproduce
from shards.read import open_sets
from tests.finetune.conftest import Corpus
from tests.finetune.reproduction.conftest import Stages, both, lines


def test_every_row_and_seed_becomes_a_line_and_tables_and_figures_show_them(
    settings: Callable[..., reproduce.Config], real_stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(seeds=2, more_seeds=("han",))
    reproduce.main(config)
    assert real_stages.again() == [*both("han"), *both("pretrain_multi"), *both("han")], "all rows come once first"
    found = {(each.identity.row, each.identity.seed): each for each in lines(config)}
    assert list(found) == [("han", 0), ("pretrain_multi", 0), ("han", 1)]
    han, embedded = found["han", 0], found["pretrain_multi", 0]
    assert (han.identity.generator, han.identity.settings["training.batch"], han.epoch) == (7, 8, 1)
    assert han.identity.encoder == ""
    assert embedded.identity.encoder == "e0e0"
    assert han.identity.manifests == {name: s.manifest.digest for name, s in open_sets(config.shards).items()}
    (scored,) = (config.out / "scores").glob("han-0-*/scores.json")
    assert json.loads(scored.read_text())["segment"] == han.scores["segment"]
    assert [len(scores) for scores in han.categories.values()] == [25, 25, 25]
    shown = capsys.readouterr().out
    assert "features planted by generator 7" in shown
    assert "not comparable with the paper" in shown
    assert f"{embedded.scores['event']['type_at_av']:.1f}" in shown
    tables = json.loads((config.out / "tables.json").read_text())
    assert tables["segment"]["han"]["seeds"] == [0, 1]
    assert tables["segment"]["pretrain_multi"] | {"ours": 0} == tables["segment"]["pretrain_multi"] | {
        "ours": 0, "seeds": [0], "missing": []
    }  # fmt: skip
    for figure in ("distribution.png", "categories.png"):
        assert (config.out / figure).read_bytes().startswith(b"\x89PNG")
    assert "| HAN [1] |" in (config.out / "tables.md").read_text()


def test_everything_is_one_mlflow_run_with_a_child_a_row_and_seed_and_the_stages_inside(
    settings: Callable[..., reproduce.Config], real_stages: Stages, corpus: Corpus
) -> None:
    reproduce.main(settings(rows=("han",), seeds=2))
    client, runs = corpus.runs()
    children = {run.info.run_id: [] for run in runs}  # type: ignore[var-annotated]
    for run in runs:
        children.setdefault(run.data.tags.get("mlflow.parentRunId", ""), []).append(run)
    (parent,) = children[""]
    assert parent.data.tags["stage"] == "reproduce"
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"tables.md", "tables.json"}
    each = {child.data.tags["seed"]: child for child in children[parent.info.run_id]}
    assert set(each) == {"0", "1"}
    scores = [child.data.metrics["test/event/visual"] for child in each.values()]
    assert parent.data.metrics["han/event/visual"] == pytest.approx(sum(scores) / 2)
    for child in each.values():
        assert child.data.tags["row"] == "han"
        assert child.data.params["training.epochs"] == "1"
        assert 0 <= child.data.metrics["test/segment/type_at_av"] <= 100
        assert sorted(run.data.tags["stage"] for run in children[child.info.run_id]) == ["evaluate", "finetune"]


def test_what_is_missing_is_shown_as_missing_where_nothing_is_to_be_trained(
    settings: Callable[..., reproduce.Config], real_stages: Stages, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce.main(settings(rows=("han",)))
    before = len(corpus.runs()[1])
    real_stages.again()
    config = settings(rows=("han", "base"), seeds=2, tables_only=True, embeddings=None)
    reproduce.main(config)
    assert real_stages.again() == []
    assert len(corpus.runs()[1]) == before
    table = (config.out / "tables.md").read_text()
    (han,) = [line for line in table.splitlines() if line.startswith("| HAN") and "60.1" in line]
    (base,) = [line for line in table.splitlines() if line.startswith("| Base") and "60.0" in line]
    assert han.endswith("| 0 – |")
    assert base.endswith("| – – |")


@pytest.mark.timeout(240)
def test_a_terminated_command_leaves_no_process_and_goes_on_when_started_again(
    settings: Callable[..., reproduce.Config], real_stages: Stages, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(rows=("han",), training={"epochs": 60})
    words = ["--shards", config.shards, "--tables", config.tables, "--rows", "han", "--out", config.out]
    words += ["--over", *config.over, "--results", config.results, "--training.epochs", 60]
    words += ["--tracking.root", config.tracking.root, "--tracking.experiment", config.tracking.experiment]
    command, log = [sys.executable, "-m", "launch", "reproduce", *map(str, words)], corpus.work / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while "epoch 2/60" not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert lines(config) == []
    client = MlflowClient(config.tracking.store)
    assert {run.info.status for run in corpus.runs()[1]} == {"KILLED"}, "the stage ended too, and said so"
    reproduce.main(config)
    assert "Going on after step" in capsys.readouterr().out
    assert [each.identity.row for each in lines(config)] == ["han"]
    (parent,) = [run for run in corpus.runs()[1] if run.data.tags["stage"] == "reproduce"]
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
