"""The stage probe: what it reads, what it fits on, what it scores on, and what it tells."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from launch.refusal import Refusal
from launch.tracking import Tracking
from pretrain import probe
from pretrain.evaluation.health import Embedded
from pretrain.evaluation.labelled import Truth, probe_seconds, probe_videos, retrieve
from pretrain.model import ModelSettings, Transformer, describe_encoder, load_encoder, save_encoder
from pretrain.probe import PROBE, Config, main
from shards import synthesise
from shards.labels import SPLITS, Tables
from shards.read import Shards, open_sets
from shards.schema import MODALITIES
from tests.pretrain.conftest import damage

SIZES = {"train": 60, "validation": 30, "test": 30}
SUBJECTS = ("raw features", "random encoder", "pre-trained encoder")
PROBES = {"video_map", "audio_map", "visual_map", "second_map"}
WAYS = ("audio_to_visual", "visual_to_audio")
RETRIEVED = {f"{way}_{each}" for way in WAYS for each in ("map", "r1", "r5", "chance")}
RANKS = {"effective_rank_audio", "effective_rank_visual"}
LEAKS = {f"{name}_{each}" for name in MODALITIES for each in ("follows_snippet", "follows_video", "between_videos")}


@dataclass(frozen=True)
class Corpus:
    """A planted corpus and an encoder of its features."""

    folder: Path
    encoder: Path

    def config(self, out: Path, runs: Path, **chosen: object) -> Config:
        given = {"encoder": self.encoder, "shards": self.folder, "tables": self.folder / "tables", "out": out}
        return Config.model_validate({**given, "tracking": Tracking(root=runs), **chosen})

    def probed(self, out: Path, runs: Path, **chosen: object) -> dict[str, Any]:
        """What the stage wrote."""
        main(self.config(out, runs, **chosen))
        found: dict[str, Any] = json.loads((out / PROBE).read_text(), parse_constant=pytest.fail)
        return found

    def copy(self, folder: Path) -> "Corpus":
        shutil.copytree(self.folder, folder)
        return Corpus(folder, self.encoder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Corpus:
    folder = tmp_path_factory.mktemp("probe")
    given = {"out": folder / "corpus", "layout": "shards", "processes": 1, "tracking": Tracking(root=runs)}
    synthesise.main(synthesise.Config.model_validate(given | SIZES))
    manifest = Shards.open(folder / "corpus" / "train").manifest
    widths = {name: feature.width for name, feature in manifest.features.items()}
    variants = {name: feature.variant for name, feature in manifest.features.items()}
    settings = ModelSettings(layers=1, width=16, heads=2)
    torch.manual_seed(11)
    weights = Transformer(settings, widths).state_dict()
    save_encoder(folder / "encoder", weights, settings, widths, {"variants": variants})
    return Corpus(folder / "corpus", folder / "encoder")


@pytest.fixture(scope="module")
def told(corpus: Corpus, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the stage writes about the corpus."""
    return corpus.probed(tmp_path_factory.mktemp("told") / "out", runs)


@dataclass(frozen=True)
class Side:
    """A split read at one go: a subject's rows and the labels in stored order."""

    rows: Embedded
    truth: Truth

    @property
    def means(self) -> torch.Tensor:
        return torch.cat((self.rows.audio, self.rows.visual), -1).mean(1)


def read(corpus: Corpus, split: str, rows: Callable[[Mapping[str, torch.Tensor]], Embedded]) -> Side:
    shards = Shards.open(corpus.folder / split)
    arrays = shards.batch(range(len(shards)), list(shards.manifest.features)).features
    features = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
    return Side(rows(features), Truth.of(Tables.load(corpus.folder / "tables"), shards.keys))


def raw(features: Mapping[str, torch.Tensor]) -> Embedded:
    visual = torch.cat((features["resnet152"], features["r2plus1d_18"]), -1)
    return Embedded(features["vggish"], visual, features["vggish"], visual)


def test_the_file_tells_encoder_seed_videos_and_every_score_of_every_subject(
    corpus: Corpus, told: dict[str, Any]
) -> None:
    assert set(told) == {"encoder", "seed", "videos", "scores"}
    assert told["encoder"] == describe_encoder(corpus.encoder).digest
    assert (told["seed"], told["videos"]) == (0, SIZES)
    names = {name: set(of) for name, of in told["scores"].items()}
    everything = PROBES | RETRIEVED | RANKS | LEAKS
    assert names == {SUBJECTS[0]: PROBES, SUBJECTS[1]: everything, SUBJECTS[2]: everything}
    for of in told["scores"].values():
        assert all(0 <= value <= 1 for name, value in of.items() if name not in RANKS | LEAKS)
        assert of["second_map"] == pytest.approx((of["audio_map"] + of["visual_map"]) / 2)


def test_what_leaks_is_seen_where_a_snippet_sees_both_modalities(told: dict[str, Any]) -> None:
    for of in (told["scores"][name] for name in SUBJECTS[1:]):
        for name in MODALITIES:
            assert of[f"{name}_between_videos"] < of[f"{name}_follows_snippet"] < 1 - 1e-6


def test_weak_labels_are_fitted_on_training_videos_dense_ones_on_validation_videos_and_all_scored_on_test_videos(
    corpus: Corpus, told: dict[str, Any]
) -> None:
    train, validation, test = (read(corpus, split, raw) for split in SPLITS)
    expected = probe_videos(train.means, train.truth, test.means, test.truth)
    expected |= probe_seconds(validation.rows, validation.truth, test.rows, test.truth)
    assert told["scores"]["raw features"] == pytest.approx(expected, abs=1e-9)


def test_retrieval_is_among_the_test_videos_by_the_encoder_that_was_given(corpus: Corpus, told: dict[str, Any]) -> None:
    (subject,) = (s for s in probe.subjects(load_encoder(corpus.encoder), 0) if s.name == "pre-trained encoder")
    test = read(corpus, "test", subject.rows)
    expected = retrieve(test.rows, test.truth)
    found = told["scores"]["pre-trained encoder"]
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-3)


def test_the_scores_do_not_depend_on_the_batch(
    corpus: Corpus, told: dict[str, Any], runs: Path, tmp_path: Path
) -> None:
    found = corpus.probed(tmp_path / "out", runs, batch=7)["scores"]
    assert found["raw features"] == told["scores"]["raw features"]
    for name in SUBJECTS[1:]:
        assert found[name] == pytest.approx(told["scores"][name], abs=1e-3)


def test_another_seed_is_another_random_encoder_and_changes_nothing_else(
    corpus: Corpus, told: dict[str, Any], runs: Path, tmp_path: Path
) -> None:
    found = corpus.probed(tmp_path / "out", runs, seed=1)["scores"]
    changed = [name for name in SUBJECTS if found[name] != told["scores"][name]]
    assert changed == ["random encoder"]


def test_the_table_has_a_line_a_subject_and_chance_in_percent(told: dict[str, Any]) -> None:
    lines = probe.table(told["scores"]).splitlines()
    expected = [
        [
            name,
            *(f"{100 * told['scores'][name][key]:.1f}" if key in told["scores"][name] else "–" for key in probe.HEADS),
        ]
        for name in SUBJECTS
    ]
    assert [line.rsplit(maxsplit=6) for line in lines[1:-1]] == expected
    chance = [f"{100 * told['scores'][SUBJECTS[1]][f'{way}_chance']:.1f}" for way in WAYS]
    assert lines[-1].split() == ["chance", *chance]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("missing", SPLITS)
def test_a_missing_set_is_refused_by_name_with_those_that_are_there(
    corpus: Corpus, runs: Path, tmp_path: Path, missing: str
) -> None:
    less = corpus.copy(tmp_path / "less")
    shutil.rmtree(less.folder / missing)
    there = ", ".join(sorted(set(SPLITS) - {missing}))
    with pytest.raises(Refusal, match=f"lacks {missing} and holds {there}: give the folder"):
        main(less.config(tmp_path / "out", runs))
    assert not (tmp_path / "out").exists()


def test_one_set_in_place_of_three_is_refused(corpus: Corpus, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="lacks train, validation, test"):
        main(corpus.config(tmp_path / "out", runs, shards=corpus.folder / "train"))


def test_features_of_another_variant_than_the_encoders_are_refused(corpus: Corpus, runs: Path, tmp_path: Path) -> None:
    trained = load_encoder(corpus.encoder)
    provenance = {"variants": {"vggish": "quantised"}}
    save_encoder(tmp_path / "encoder", trained.state_dict(), trained.settings, trained.widths, provenance)
    with pytest.raises(Refusal, match=r"'vggish' is 128 wide and 'raw' in .*train', and 128 wide and 'quantised'"):
        main(corpus.config(tmp_path / "out", runs, encoder=tmp_path / "encoder"))
    assert not (tmp_path / "out").exists()


def test_a_video_that_the_tables_have_in_another_split_is_refused_before_anything_is_encoded(
    corpus: Corpus, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "see", lambda *asked: pytest.fail("videos were encoded"))
    swapped = corpus.copy(tmp_path / "swapped")
    (swapped.folder / "test").rename(swapped.folder / "aside")
    (swapped.folder / "validation").rename(swapped.folder / "test")
    (swapped.folder / "aside").rename(swapped.folder / "validation")
    key = Shards.open(swapped.folder / "validation").keys[0]
    with pytest.raises(Refusal, match=f"'{key}' of '.*validation' is not among the validation videos of"):
        main(swapped.config(tmp_path / "out", runs))


def test_skipped_videos_are_counted_listed_and_neither_fitted_nor_scored_on(
    corpus: Corpus, told: dict[str, Any], runs: Path, tmp_path: Path
) -> None:
    torn = corpus.copy(tmp_path / "torn")
    bad = [
        damage(torn.folder / split, Shards.open(torn.folder / split).keys[3].replace(".", "%2E")) for split in SPLITS
    ]
    with pytest.raises(Refusal, match=r"--reading[.]on_bad skip"):
        main(torn.config(tmp_path / "out", runs))
    found = torn.probed(tmp_path / "out", runs, reading={"on_bad": "skip"})
    assert found["videos"] == {split: size - 1 for split, size in SIZES.items()}
    assert found["scores"]["raw features"] != told["scores"]["raw features"]
    client = MlflowClient(Tracking(root=runs).store)
    experiment = client.get_experiment_by_name("soundsight")
    assert experiment
    run = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"], max_results=1)[0]
    path = client.download_artifacts(run.info.run_id, "skipped.txt", str(tmp_path))
    lines = Path(path).read_text().splitlines()
    assert run.data.metrics["skipped_videos"] == len(lines) == len(bad)
    assert all(key.replace("%2E", ".") in line for key, line in zip(bad, lines, strict=True))
    assert run.data.metrics["pre-trained.video_map"] == found["scores"]["pre-trained encoder"]["video_map"]
    manifests = {name: each.manifest.digest for name, each in open_sets(torn.folder).items()}
    assert {name: run.data.tags[f"input.shards.{name}"] for name in SPLITS} == manifests


def test_scores_that_no_label_defines_are_left_out_of_the_file(corpus: Corpus, runs: Path, tmp_path: Path) -> None:
    weak = corpus.copy(tmp_path / "weak")
    tables = Tables.load(weak.folder / "tables")
    Tables(tables.weak, {}, {}).write(weak.folder / "tables")
    found = weak.probed(tmp_path / "out", runs)["scores"]
    assert set(found["raw features"]) == {"video_map"}
    assert set(found["pre-trained encoder"]) == {"video_map"} | RANKS | LEAKS
    assert all(np.isfinite(value) for of in found.values() for value in of.values())
