"""A tiny corpus: six tables in LLP's format and random shards for them, and the stage settings that fit it."""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from finetune import evaluate, train
from finetune.parser import Parser, ParserSettings
from finetune.recipe import Training
from launch import atomic
from launch.tracking import Tracking
from shards.labels import CATEGORIES, Span, Tables
from shards.schema import Feature, Video
from shards.write import Writer

COUNTS = {"train": 24, "validation": 9, "test": 11}
FEATURES = (Feature("sound", 6, "raw"), Feature("frames", 10), Feature("motion", 4))
SMALL = ParserSettings(audio=("sound",), visual=("frames", "motion"), width=16, hidden=16)


@dataclass(frozen=True)
class Corpus:
    """Where the tiny corpus lies, and how to make variations of it."""

    work: Path
    tracking: Tracking
    features: tuple[Feature, ...] = FEATURES
    parser: ParserSettings = SMALL

    @property
    def shards(self) -> Path:
        """The shard sets."""
        return self.work / "shards"

    @property
    def tables(self) -> Path:
        """The six tables."""
        return self.work / "tables"

    def keys(self, split: str) -> list[str]:
        """The keys of a split in table order."""
        return [f"{split[:2]}{number:09d}_0_10" for number in range(COUNTS[split])]

    def training(self, out: str = "parser", **values: Any) -> train.Config:
        """Settings that train a small parser on it for two epochs."""
        recipe = Training(epochs=2, batch=8, record_every=2, learning_rate=3e-3)
        given = {"parser": SMALL, "training": recipe, "shards": self.shards, "tables": self.tables} | values
        return train.Config(out=self.work / out, tracking=self.tracking, **given)

    def untrained(self, out: str = "untrained", **trained_on: Any) -> Path:
        """A saved parser that fits the shards but has learnt nothing; its probabilities are spread around one half."""
        torch.manual_seed(0)
        parser = Parser(self.parser, {feature.name: feature.width for feature in self.features})
        with torch.no_grad():
            parser.pooling.probability.weight *= 4
        traits = {one.name: {"width": one.width, "variant": one.variant, "encoder": ""} for one in self.features}
        (self.work / out).mkdir()
        parser.save(self.work / out, {"features": traits, "videos": {"train": COUNTS["train"]}} | trained_on)
        return self.work / out

    def evaluation(self, out: str = "scores", **values: Any) -> evaluate.Config:
        """Settings that score the parser of `training` on its test split."""
        given = {"parser": self.work / "parser", "shards": self.shards, "tables": self.tables} | values
        return evaluate.Config(out=self.work / out, tracking=self.tracking, **given)

    def runs(self) -> tuple[MlflowClient, list[Run]]:
        """The MLflow client and the runs of this corpus's stages, newest first."""
        client = MlflowClient(self.tracking.store)
        experiment = client.get_experiment_by_name(self.tracking.experiment)
        assert experiment is not None
        return client, list(client.search_runs([experiment.experiment_id]))

    def skipped(self) -> list[str]:
        """What the newest run lists as skipped; as many as it counts."""
        client, runs = self.runs()
        path = client.download_artifacts(runs[0].info.run_id, "skipped.txt", str(self.work))
        lines = Path(path).read_text().splitlines()
        assert runs[0].data.metrics["skipped_videos"] == len(lines)
        return lines

    def write_shards(
        self,
        folder: str,
        videos: Mapping[str, Sequence[str]],
        features: Sequence[Feature] = FEATURES,
        source: Mapping[str, Any] | None = None,
        scale: float = 1.0,
    ) -> Path:
        """Shard sets of random features that are a function of the key, stored in the opposite of the given order."""
        for split, names in videos.items():
            with Writer(self.work / folder / split, features, source or {"stage": "a test"}, 5) as writer:
                for key in reversed(names):
                    dice = np.random.default_rng(list(key.encode()))
                    arrays = {f.name: scale * dice.standard_normal((10, f.width)) for f in features}
                    writer.add(Video(key, {name: array.astype(np.float32) for name, array in arrays.items()}))
        return self.work / folder

    def damage(self, split: str, *keys: str) -> tuple[str, ...]:
        """Flips a byte inside each of these videos of the split's shards, and gives their keys back."""
        for tar in (self.shards / split).glob("*.tar"):
            content = bytearray(tar.read_bytes())
            for key in keys:
                if (at := content.find(key.encode())) >= 0:
                    content[at + 512 + 400] ^= 1
            tar.write_bytes(content)
        return keys

    def write_tables(self) -> None:
        """Two random categories a video; each is heard, the first is seen too, at fixed times."""
        dice = np.random.default_rng(0)
        weak = {
            split: {
                key: tuple(sorted(dice.choice(len(CATEGORIES), 2, replace=False).tolist())) for key in self.keys(split)
            }
            for split in COUNTS
        }
        dense = {key: labels for split in ("validation", "test") for key, labels in weak[split].items()}
        audio = {key: (Span(first, 0, 6), Span(second, 3, 9)) for key, (first, second) in dense.items()}
        visual = {key: (Span(first, 2, 8),) for key, (first, _) in dense.items()}
        self.tables.mkdir()
        Tables(weak, audio, visual).write(self.tables)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One MLflow store for all tests of the parser: making one takes a second."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def corpus(tmp_path: Path, store: Path) -> Corpus:
    """The tiny corpus, whole, with an MLflow experiment of its own."""
    made = Corpus(tmp_path, Tracking(root=store, experiment=tmp_path.name))
    made.write_tables()
    made.write_shards("shards", {split: made.keys(split) for split in COUNTS})
    return made


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every stage of the parser fail where its finished folder is to be brought into its place."""

    def failing(temporary: Path, path: Path, old: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(atomic, "_into_place", failing)
