"""`pack`: features of folders, records and tars become shard sets, and their manifests say where they came from."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from launch.__main__ import main
from launch.refusal import Refusal
from shards.labels import SPLITS, Tables
from shards.read import Shards, open_sets
from tests.shards.corpora import SPLIT_KEYS, WIDTHS, run
from tests.shards.foreign import add_array, example, write_tfrecord


def test_each_split_of_the_tables_becomes_a_shard_set(corpus: Path, runs: Path) -> None:
    run(corpus, runs)
    sets = open_sets(corpus / "out")
    assert {name: shards.keys for name, shards in sets.items()} == SPLIT_KEYS
    features = sets["train"].manifest.features
    assert {name: feature.width for name, feature in features.items()} == {
        "vggish": 128, "resnet152": 2048, "r2plus1d_18": 512,
    }  # fmt: skip
    assert features["vggish"].variant == "raw"


def test_resnet_rows_are_averaged_per_second(corpus: Path, runs: Path) -> None:
    run(corpus, runs)
    stored = Shards.open(corpus / "out" / "test").read(0).features["resnet152"]
    rows = np.load(corpus / "feats" / "res152" / "_dddddddddd.npy")
    for second in range(10):
        expected = sum(rows[8 * second + i].astype(np.float64) for i in range(8)) / 8
        np.testing.assert_allclose(stored[second], expected, atol=5e-4)


def test_without_tables_every_video_goes_into_one_set(corpus: Path, runs: Path) -> None:
    for folder in WIDTHS:
        (corpus / "feats" / folder / "aaaaaaaaaaa.npy").rename(corpus / "feats" / folder / "own clip_3_13.npy")
    run(corpus, runs, tables=None)
    keys = Shards.open(corpus / "out").keys
    assert sorted(keys) == ["-bbbbbbbbbb_0_10", "_dddddddddd_0_10", "ccccccccccc_0_10", "own clip_3_13"]


def test_any_named_folder_is_a_feature_of_its_own_name(corpus: Path, runs: Path) -> None:
    (corpus / "feats" / "clap").mkdir()
    for keys in SPLIT_KEYS.values():
        for key in keys:
            np.save(corpus / "feats" / "clap" / f"{key.rsplit('_', 2)[0]}.npy", np.ones((10, 7), np.float16))
    run(corpus, runs, folders=("clap", "vggish"))
    assert list(Shards.open(corpus / "out" / "train").manifest.features) == ["clap", "vggish"]


def test_the_generator_of_the_corpus_is_named_in_the_manifest(
    corpus: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (corpus / "corpus.json").write_text(json.dumps({"generator": "planted", "version": 1}))
    monkeypatch.chdir(corpus / "feats")
    run(corpus, runs, features=Path())
    source = Shards.open(corpus / "out" / "train").manifest.source
    assert source["corpus"] == {"generator": "planted", "version": 1}


def test_the_manifest_says_where_everything_came_from_without_saying_where_it_lay(corpus: Path, runs: Path) -> None:
    run(corpus, runs)
    manifest = Shards.open(corpus / "out" / "train").manifest
    assert manifest.source["inputs"][-1] == {"kind": "npy folder", "name": "vggish", "videos": 4}
    assert manifest.source["left_out"] == {"bad": 0, "missing": 0}
    assert manifest.features["resnet152"].source == "res152/<id>.npy, 8 row(s) a second"
    assert str(corpus) not in manifest.text()


def test_the_same_corpus_in_another_place_gives_the_same_bytes(corpus: Path, runs: Path, tmp_path: Path) -> None:
    run(corpus, runs)
    shutil.copytree(corpus / "feats", tmp_path / "elsewhere" / "feats")  # new times too
    run(corpus, runs, features=tmp_path / "elsewhere" / "feats", out=tmp_path / "again", processes=2)
    assert _files(corpus / "out") == _files(tmp_path / "again")


def test_features_of_folders_records_and_tars_are_joined_by_key(tmp_path: Path, runs: Path) -> None:
    generator = np.random.default_rng(3)
    keys = ("-abc_30_40", "d%f_5.5_15.5")
    codes = {key: generator.integers(0, 256, (10, 128), np.uint8) for key in keys}
    picture = {key: generator.random((10, 5), dtype=np.float32) for key in keys}
    (tmp_path / "feats" / "clap").mkdir(parents=True)
    (tmp_path / "tars").mkdir()
    write_tfrecord(
        tmp_path / "records" / "00.tfrecord",
        [example("-abc", 30.0, 40.0, codes[keys[0]]), example("d%f", 5.5, 15.5, codes[keys[1]])],
    )
    with tarfile.open(tmp_path / "tars" / "0.tar", "w") as tar:
        for key in keys:
            np.save(tmp_path / "feats" / "clap" / f"{key}.npy", np.full((10, 2), len(key), np.float32))
            add_array(tar, f"{key.replace('%', '%25').replace('.', '%2E')}.i3d.npy", picture[key])
    places = {"tfrecords": (str(tmp_path / "records"),), "webdataset": (str(tmp_path / "tars" / "*.tar"),)}
    run(tmp_path, runs, tables=None, dtype="float32", **places)
    shards = Shards.open(tmp_path / "out")
    assert list(shards.manifest.features) == ["clap", "vggish", "i3d"]
    assert [entry["kind"] for entry in shards.manifest.source["inputs"]] == [
        "npy folder", "AudioSet TFRecords", "WebDataset tars",
    ]  # fmt: skip
    for index, key in enumerate(shards.keys):
        video = shards.read(index)
        assert np.array_equal(video.features["i3d"], picture[key])
        np.testing.assert_allclose(video.features["vggish"], codes[key] * 4.0 / 255.0 - 2.0, atol=1e-6)


def test_a_silent_video_fits_every_variant_of_vggish(corpus: Path, runs: Path) -> None:
    for name in ("aaaaaaaaaaa", "-bbbbbbbbbb", "_dddddddddd"):
        codes = np.random.default_rng(2).integers(0, 256, (10, 128)).astype(np.float32)
        np.save(corpus / "feats" / "vggish" / f"{name}.npy", codes)
    np.save(corpus / "feats" / "vggish" / "ccccccccccc.npy", np.zeros((10, 128), np.float32))
    run(corpus, runs)
    assert Shards.open(corpus / "out" / "train").manifest.features["vggish"].variant == "quantised"


def test_the_same_corpus_gives_the_same_shards(corpus: Path, runs: Path) -> None:
    run(corpus, runs)
    run(corpus, runs, out=corpus / "again")
    first, second = open_sets(corpus / "out"), open_sets(corpus / "again")
    assert {name: each.manifest.digest for name, each in first.items()} == {
        name: each.manifest.digest for name, each in second.items()
    }


def _files(folder: Path) -> dict[str, bytes]:
    kinds = (".tar", ".json", ".safetensors")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.suffix in kinds}


def test_an_output_that_is_there_is_kept(corpus: Path, runs: Path) -> None:
    run(corpus, runs)
    with pytest.raises(Refusal, match=r"holds files.*--replace"):
        run(corpus, runs)
    run(corpus, runs, replace=True)
    assert open_sets(corpus / "out")


def test_the_command_line_says_what_it_read_and_wrote(
    corpus: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--features", "feats", "--tables", "tables", "--out", "out"]
    places = [word if word.startswith("--") else str(corpus / word) for word in words]
    assert main(["pack", *places, "--tracking.root", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "Read from" in said
    assert "resnet152 (2048)" in said
    assert "The tables have no defects." in said
    for split in SPLITS:
        assert f"Wrote '{corpus / 'out' / split}': {len(SPLIT_KEYS[split])} videos" in said


def test_the_real_tables_with_fractional_times_survive_packing(llp: Path, tmp_path: Path, runs: Path) -> None:
    """10,000 / 649 / 1,200 videos, the five keys with a dot in their times among them."""
    (tmp_path / "feats" / "tiny").mkdir(parents=True)
    template = tmp_path / "tiny.npy"
    np.save(template, np.ones((10, 1), np.float32))
    tables = Tables.load(llp)
    for split in SPLITS:
        for key in tables.keys(split):
            (tmp_path / "feats" / "tiny" / f"{key.rsplit('_', 2)[0]}.npy").hardlink_to(template)
    run(tmp_path, runs, tables=llp)
    sets = open_sets(tmp_path / "out")
    assert {split: len(sets[split]) for split in SPLITS} == {"train": 10_000, "validation": 649, "test": 1_200}
    for split in SPLITS:
        assert sets[split].keys == tables.keys(split)
    assert sum("." in key for split in SPLITS for key in sets[split].keys) == 5
