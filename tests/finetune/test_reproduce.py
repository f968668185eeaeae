"""The paper's tables in one command: on a tiny corpus, stopped and gone on with, shared, and never made twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient

from finetune import evaluate, reproduce
from finetune.reproduction import trials
from finetune.reproduction.results import Result, Results
from launch.__main__ import main as launch
from launch.lock import held
from launch.refusal import Refusal
from shards.read import open_sets
from shards.schema import Feature
from tests.finetune.conftest import COUNTS, Corpus

RAW = (Feature("vggish", 6, "raw"), Feature("resnet152", 10), Feature("r2plus1d_18", 4))
EMBEDDED = (Feature("pretrained_audio", 8, "layer_norm-e0e0"), Feature("pretrained_visual", 8, "layer_norm-e0e0"))
SMALL = "[parser]\nwidth = 16\nhidden = 16\n[training]\nbatch = 8\nlearning_rate = 3e-3\n"
ROWS = ("han", "pretrain_multi")


@pytest.fixture
def settings(corpus: Corpus) -> Callable[..., reproduce.Config]:
    """Settings that reproduce two rows of small parsers on raw features and on embeddings that are there."""
    keys = {split: corpus.keys(split) for split in COUNTS}
    corpus.write_shards("raw", keys, RAW, {"stage": "pack", "corpus": {"version": 7}})
    embed(corpus, "embeddings/multi", "raw")
    (corpus.work / "small.toml").write_text(SMALL)

    def made(**values: Any) -> reproduce.Config:
        given: dict[str, Any] = {"shards": str(corpus.work / "raw"), "tables": corpus.tables, "rows": ROWS}
        given |= {"embeddings": corpus.work / "embeddings", "over": (corpus.work / "small.toml",)}
        given |= {"out": corpus.work / "out", "results": corpus.work / "r.jsonl", "tracking": corpus.tracking}
        return reproduce.Config(**given | {"training": {"epochs": 1}} | values)

    return made


def embed(corpus: Corpus, folder: str, raw: str, encoder: str = "e0e0") -> None:
    """Random embeddings that say they are those of the raw shards by an encoder."""
    for split, shards in open_sets(corpus.work / raw).items():
        source = {"stage": "export", "encoder": encoder, "manifest": shards.manifest.digest, "corpus": {"version": 7}}
        corpus.write_shards(folder, {split: corpus.keys(split)}, EMBEDDED, source)


class Stages:
    """Stands in for processes: runs each stage in this one, notes it, and fails where it is told to."""

    def __init__(self) -> None:
        self.started: list[tuple[str, str]] = []
        self.dies_at = 0
        self.ends: dict[tuple[str, str], Callable[[], None]] = {}
        """What happens elsewhere when a stage ends."""

    def run(self, stage: str, arguments: Sequence[str], holds: Sequence[int] = ()) -> float:
        name = arguments[list(arguments).index("--out") + 1]
        self.started.append((stage, Path(name).name.split("-")[0]))
        if len(self.started) == self.dies_at:
            raise KeyboardInterrupt
        if code := launch([stage, *arguments]):
            raise SystemExit(code)
        self.ends.get(self.started[-1], lambda: None)()
        return 1.25

    def again(self) -> list[tuple[str, str]]:
        """What was started since the last time."""
        started, self.started, self.dies_at = self.started, [], 0
        return started


@pytest.fixture
def drawing_stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    stand_in = Stages()
    monkeypatch.setattr(trials, "run", stand_in.run)
    monkeypatch.setattr(evaluate, "category_figure", lambda *_: Figure())
    return stand_in


@pytest.fixture
def stages(drawing_stages: Stages, monkeypatch: pytest.MonkeyPatch) -> Stages:
    """Stages of which no figure is seen: drawing takes longer than all the rest."""
    monkeypatch.setattr(reproduce, "write_figures", lambda *_: [])
    return drawing_stages


def both(row: str) -> list[tuple[str, str]]:
    return [("finetune", row), ("evaluate", row)]


def lines(config: reproduce.Config) -> list[Result]:
    assert config.results
    return Results(config.results).read()


def test_every_row_and_seed_becomes_a_line_and_tables_and_figures_show_them(
    settings: Callable[..., reproduce.Config], drawing_stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(seeds=2, more_seeds=("han",))
    reproduce.main(config)
    assert drawing_stages.again() == [*both("han"), *both("pretrain_multi"), *both("han")], "all rows come once first"
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


def test_what_is_there_is_not_made_again_and_shown_alike(
    settings: Callable[..., reproduce.Config], stages: Stages
) -> None:
    config = settings()
    reproduce.main(config)
    before = (config.out / "tables.md").read_text()
    stages.again()
    reproduce.main(settings(out=config.out.with_name("elsewhere")))
    assert stages.again() == []
    assert (config.out.with_name("elsewhere") / "tables.md").read_text() == before
    assert len(lines(config)) == 2


@pytest.mark.parametrize(
    ("dies_at", "left"),
    [(3, both("pretrain_multi")), (4, [("evaluate", "pretrain_multi")]), (1, both("han") + both("pretrain_multi"))],
)
def test_a_stopped_reproduction_goes_on_where_it_was_in_the_same_run(
    settings: Callable[..., reproduce.Config], stages: Stages, corpus: Corpus, dies_at: int, left: list[tuple[str, str]]
) -> None:
    config, stages.dies_at = settings(), dies_at
    with pytest.raises(KeyboardInterrupt):
        reproduce.main(config)
    client, (parent,) = corpus.runs()[0], [each for each in corpus.runs()[1] if each.data.tags["stage"] == "reproduce"]
    assert parent.info.status == "KILLED"
    stages.again()
    reproduce.main(config)
    assert stages.again() == left
    assert [each.identity.row for each in lines(config)] == list(ROWS)
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    assert sum(each.data.tags["stage"] == "reproduce" for each in corpus.runs()[1]) == 1


def test_everything_is_one_mlflow_run_with_a_child_a_row_and_seed_and_the_stages_inside(
    settings: Callable[..., reproduce.Config], stages: Stages, corpus: Corpus
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


def test_other_settings_make_other_lines_and_the_tables_show_only_their_own(
    settings: Callable[..., reproduce.Config], stages: Stages
) -> None:
    reproduce.main(settings(rows=("han",)))
    config = settings(rows=("han",), training={"epochs": 2, "precision": "bfloat16"})
    reproduce.main(config)
    assert [each.identity.settings["training.epochs"] for each in lines(config)] == [1, 2]
    assert stages.again() == both("han") * 2
    assert lines(config)[1].identity.settings["training.precision"] == "bfloat16"
    assert "2 epochs" in (config.out / "tables.md").read_text()
    assert "1 epochs" not in (config.out / "tables.md").read_text()


def test_what_is_missing_is_shown_as_missing_where_nothing_is_to_be_trained(
    settings: Callable[..., reproduce.Config], stages: Stages, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce.main(settings(rows=("han",)))
    before = len(corpus.runs()[1])
    stages.again()
    config = settings(rows=("han", "base"), seeds=2, tables_only=True, embeddings=None)
    reproduce.main(config)
    assert stages.again() == []
    assert len(corpus.runs()[1]) == before
    table = (config.out / "tables.md").read_text()
    (han,) = [line for line in table.splitlines() if line.startswith("| HAN") and "60.1" in line]
    (base,) = [line for line in table.splitlines() if line.startswith("| Base") and "60.0" in line]
    assert han.endswith("| 0 – |")
    assert base.endswith("| – – |")


def test_lines_of_other_code_are_taken_with_a_sentence_or_made_again(
    settings: Callable[..., reproduce.Config],
    stages: Stages,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = settings(rows=("han",))
    reproduce.main(config)
    assert "are by other code" not in capsys.readouterr().out
    monkeypatch.setattr(reproduce, "code", lambda: "another")
    monkeypatch.setattr(trials, "code", lambda: "another")
    stages.again()
    reproduce.main(config)
    assert "Some of these results are by other code" in capsys.readouterr().out
    assert stages.again() == []
    reproduce.main(settings(rows=("han",), same_code=True))
    assert stages.again() == both("han")
    assert [each.code == "another" for each in lines(config)] == [False, True]


def test_a_row_that_another_process_is_at_is_left_to_it_until_all_else_is_made(
    settings: Callable[..., reproduce.Config], stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings()
    reproduce.main(settings(rows=("han",)))
    (lock,) = (config.out / "parsers").glob(".han-0-*.lock")
    assert config.results
    config.results.unlink()
    stages.again()
    with ExitStack() as elsewhere:
        elsewhere.enter_context(held(lock, "it"))
        stages.ends["evaluate", "pretrain_multi"] = elsewhere.close
        reproduce.main(config)
    assert stages.again() == both("pretrain_multi"), "han's parser and scores were there, and only its line was not"
    assert [each.identity.row for each in lines(config)] == ["pretrain_multi", "han"]
    assert "Row 'han' with seed 0 is being made by another process: left to it for now" in capsys.readouterr().out


def test_a_line_is_committed_alone_as_soon_as_it_is_there(
    settings: Callable[..., reproduce.Config], stages: Stages, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = corpus.work / "repository"
    repository.mkdir()
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "somebody@example.org")

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=repository, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    (repository / "staged.txt").write_text("mine")
    git("add", "staged.txt")
    reproduce.main(settings(results=repository / "docs" / "r.jsonl", commit=True))
    assert git("log", "--format=%s").splitlines() == ["results: pretrain_multi seed 0", "results: han seed 0"]
    assert git("ls-tree", "-r", "--name-only", "HEAD").split() == ["docs/r.jsonl"]
    assert len(git("show", "HEAD~1:docs/r.jsonl").splitlines()) == 1
    assert git("status", "--porcelain").split() == ["A", "staged.txt"]


def test_commit_outside_git_is_refused_with_the_result_kept(
    settings: Callable[..., reproduce.Config], stages: Stages
) -> None:
    config = settings(rows=("han",), commit=True)
    with pytest.raises(
        Refusal, match=r"git did not take '.*r\.jsonl' .*not a git repository.*the result is in the file"
    ):
        reproduce.main(config)
    assert len(lines(config)) == 1


@pytest.mark.timeout(240)
def test_a_terminated_command_leaves_no_process_and_goes_on_when_started_again(
    settings: Callable[..., reproduce.Config], stages: Stages, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(rows=("han",), training={"epochs": 100})
    words = ["--shards", config.shards, "--tables", config.tables, "--rows", "han", "--out", config.out]
    words += ["--over", *config.over, "--results", config.results, "--training.epochs", 100]
    words += ["--tracking.root", config.tracking.root, "--tracking.experiment", config.tracking.experiment]
    command, log = [sys.executable, "-m", "launch", "reproduce", *map(str, words)], corpus.work / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while "epoch 2/100" not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert lines(config) == []
    client = MlflowClient(config.tracking.uri)
    assert {run.info.status for run in corpus.runs()[1]} == {"KILLED"}, "the stage ended too, and said so"
    reproduce.main(config)
    assert "Going on after step" in capsys.readouterr().out
    assert [each.identity.row for each in lines(config)] == ["han"]
    (parent,) = [run for run in corpus.runs()[1] if run.data.tags["stage"] == "reproduce"]
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
