"""A reproduction of two rows on a tiny corpus, with stages that run in this process or only leave what they would."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from finetune import evaluate, reproduce
from finetune.reproduction import pages, trials
from finetune.reproduction.results import Result, Results
from finetune.scoring.metrics import KINDS, LEVELS
from launch.__main__ import main as launch
from launch.chain import Failed
from shards.labels import CATEGORIES
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
    """Stands in for processes: notes each stage, leaves what it would leave, and ends as it is told to."""

    def __init__(self) -> None:
        self.started: list[tuple[str, str]] = []
        self.ends: dict[tuple[str, str], Callable[[], None]] = {}
        """What happens when a stage of a row ends: elsewhere, or to itself where it raises."""
        self.dies_at = 0

    def run(self, stage: str, arguments: Sequence[str], holds: Sequence[int] = ()) -> float:
        words = list(arguments)
        self.started.append((stage, Path(words[words.index("--out") + 1]).name.split("-")[0]))
        if len(self.started) == self.dies_at:
            raise KeyboardInterrupt
        self.perform(stage, words)
        self.ends.get(self.started[-1], lambda: None)()
        return 1.25

    def perform(self, stage: str, words: list[str]) -> None:
        """Writes the files that a reproduction reads of a parser and of its scores."""
        out = Path(words[words.index("--out") + 1])
        levels: dict[str, Any] = {level: dict.fromkeys(KINDS, 50.0) for level in LEVELS}
        out.mkdir(parents=True)
        if stage == "finetune":
            (out / "settings.json").write_text(json.dumps({"trained_on": {"epoch": 1}}))
        else:
            protocol = {"gate": "global", "gate_threshold": 0.5, "threshold": 0.5, "thresholds": "fixed"}
            protocol |= {"videos": 11, "split": "test", "coverage": "planted", "features": {"vggish": "raw"}}
            levels["protocol"] = protocol
            rows = "\n".join(f"{name},50,50,50" for name in CATEGORIES)
            (out / "categories.csv").write_text(f"category,audio,visual,audio_visual\n{rows}\n")
        (out / "scores.json").write_text(json.dumps(levels))

    def again(self) -> list[tuple[str, str]]:
        """What was started since the last time."""
        started, self.started, self.dies_at, self.ends = self.started, [], 0, {}
        return started


class RealStages(Stages):
    """Runs each stage in this process."""

    def perform(self, stage: str, words: list[str]) -> None:
        if code := launch([stage, *words]):
            raise Failed(stage, code)


def _in_place_of_processes(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> Stages:
    """The stages, and blank figures: drawing takes longer than all the rest, and has tests of its own."""
    monkeypatch.setattr(trials, "run", stages.run)
    monkeypatch.setattr(evaluate, "category_figure", lambda *_: Figure())
    for name in ("category_figure", "distribution_figure"):
        monkeypatch.setattr(pages, name, lambda *_: Figure())
    return stages


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    return _in_place_of_processes(Stages(), monkeypatch)


@pytest.fixture
def real_stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    return _in_place_of_processes(RealStages(), monkeypatch)


def both(row: str) -> list[tuple[str, str]]:
    """The stages of a row."""
    return [("finetune", row), ("evaluate", row)]


def lines(config: reproduce.Config) -> list[Result]:
    """The results that are written."""
    assert config.results
    return Results(config.results).read()
