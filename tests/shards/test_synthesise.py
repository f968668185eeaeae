"""A planted corpus is whole, packs, and is the same bytes for any number of processes and any order."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from launch.refusal import Refusal
from launch.tracking import Tracking
from shards import pack, synthesise
from shards.labels import SPLITS, Tables, feature_id, read_dense
from shards.planted.world import GENERATOR_VERSION
from shards.read import Shards, open_sets
from shards.synthesise import Config


def corpus(folder: Path, name: str, **settings: object) -> Path:
    small = {"train": 6, "validation": 3, "test": 3, "resnet_rows": 10, "processes": 1, "seed": 5}
    tracking = Tracking(root=folder / "runs")
    synthesise.main(Config(out=folder / name, tracking=tracking, **{**small, **settings}))
    return folder / name


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("planted"), "corpus", unlabelled=4)


def test_the_corpus_has_llps_layout(planted: Path) -> None:
    tables = Tables.load(planted / "tables")
    keys = [key for split in SPLITS for key in tables.keys(split)]
    assert len(keys) == 12
    for name, shape in {"vggish": (10, 128), "res152": (10, 2048), "r2plus1d_18": (10, 512)}.items():
        files = {path.stem: np.load(path) for path in (planted / "feats" / name).iterdir()}
        assert set(files) == {feature_id(key) for key in keys}
        assert {(array.shape, array.dtype) for array in files.values()} == {(shape, np.dtype("float32"))}


def test_the_corpus_says_what_it_is(planted: Path) -> None:
    identity = json.loads((planted / "corpus.json").read_text())
    assert (identity["version"], identity["seed"], identity["tables"]) == (GENERATOR_VERSION, 5, "own")
    assert Shards.open(planted / "unlabelled").manifest.source["corpus"] == identity


def test_the_truth_of_training_videos_is_kept_apart(planted: Path) -> None:
    tables = Tables.load(planted / "tables")
    audio, defects = read_dense(planted / "truth/train_audio.csv", set(tables.keys("train")))
    assert audio
    assert not defects.dropped
    assert not set(tables.audio) & set(tables.keys("train"))


def test_several_processes_write_the_same_bytes_as_one(planted: Path, tmp_path: Path) -> None:
    assert digests(corpus(tmp_path, "again", unlabelled=4, processes=2)) == digests(planted)


def test_another_seed_writes_other_bytes(planted: Path, tmp_path: Path) -> None:
    other, first = digests(corpus(tmp_path, "other", seed=6)), digests(planted)
    assert not set(other.values()) & set(first.values())


def test_a_video_has_the_same_bytes_in_a_subset(planted: Path, tmp_path: Path) -> None:
    part = corpus(tmp_path, "part", tables=planted / "tables", train=2, validation=1, test=1)
    again = corpus(tmp_path, "all", tables=planted / "tables", train=None, validation=None, test=None)
    whole = digests(again / "feats")
    assert digests(part / "feats").items() < whole.items()


def test_eighty_rows_ten_rows_and_shards_at_once_hold_the_same_features(tmp_path: Path, planted: Path) -> None:
    long = corpus(tmp_path, "long", resnet_rows=80)
    assert np.load(next((long / "feats/res152").iterdir())).shape == (80, 2048)
    for name, folder in (("long", long), ("short", planted)):
        tracking = Tracking(root=tmp_path / "runs")
        settings = pack.Config(
            features=folder / "feats", tables=folder / "tables", out=tmp_path / f"{name}-shards", tracking=tracking
        )
        pack.main(settings)
    direct = corpus(tmp_path, "direct", layout="shards")
    sets = [open_sets(folder) for folder in (tmp_path / "long-shards", tmp_path / "short-shards", direct)]
    for split in SPLITS:
        first, *others = ([shards[split].read(i) for i in range(len(shards[split]))] for shards in sets)
        for videos in others:
            assert [video.key for video in videos] == [video.key for video in first]
            for left, right in zip(first, videos, strict=True):
                assert all(np.array_equal(left.features[n], right.features[n]) for n in left.features)
    variants = {shards["train"].manifest.features["vggish"].variant for shards in sets}
    assert len(variants) == 1


def test_a_corpus_of_unlabelled_videos_alone_can_be_planted(tmp_path: Path) -> None:
    folder = corpus(tmp_path, "alone", train=0, validation=0, test=0, unlabelled=3, layout="shards")
    assert sorted(open_sets(folder)) == ["unlabelled"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, planted: Path) -> None:
    with pytest.raises(Refusal, match="lower --train"):
        corpus(tmp_path, "short", tables=planted / "tables", train=99)
    assert not (tmp_path / "short").exists()


def test_an_occupied_folder_is_refused(planted: Path) -> None:
    with pytest.raises(Refusal, match="holds files"):
        corpus(planted.parent, planted.name)
