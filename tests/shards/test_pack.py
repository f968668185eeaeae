"""`pack`: folders of .npy features become shards; every bad input is one sentence and leaves nothing behind."""

import csv
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from launch.__main__ import main
from launch.refusal import Refusal
from launch.tracking import Tracking
from shards import pack
from shards.labels import SPLITS, Tables
from shards.read import Shards, open_sets
from tests.shards.foreign import add_array, example, write_tfrecord

WIDTHS = {"vggish": (10, 128), "res152": (80, 2048), "r2plus1d_18": (10, 512)}
SPLIT_KEYS = {
    "train": ("aaaaaaaaaaa_0_10", "-bbbbbbbbbb_5.5_15.5"),
    "validation": ("ccccccccccc_30_40",),
    "test": ("_dddddddddd_1_11",),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus of four videos in LLP's layout: `feats/` and `tables/`."""
    generator = np.random.default_rng(0)
    for folder, shape in WIDTHS.items():
        (tmp_path / "feats" / folder).mkdir(parents=True)
        for keys in SPLIT_KEYS.values():
            for key in keys:
                array = generator.random(shape, dtype=np.float32)
                np.save(tmp_path / "feats" / folder / f"{key.rsplit('_', 2)[0]}.npy", array)
    (tmp_path / "tables").mkdir()
    weak = {split: dict.fromkeys(keys, (0, 3)) for split, keys in SPLIT_KEYS.items()}
    Tables(weak, {}, {}).write(tmp_path / "tables")
    return tmp_path


def run(corpus: Path, runs: Path, **changes: object) -> None:
    settings = {
        "features": corpus / "feats",
        "tables": corpus / "tables",
        "out": corpus / "out",
        "processes": 1,
    } | changes
    pack.main(pack.Config(**settings, tracking=Tracking(root=runs)))


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


def test_without_tables_a_video_that_only_some_folders_hold_is_missed(corpus: Path, runs: Path) -> None:
    (corpus / "feats" / "r2plus1d_18" / "ccccccccccc.npy").unlink()
    with pytest.raises(Refusal, match=r"r2plus1d_18/ccccccccccc\.npy' is missing \(1 of 4 are\)"):
        run(corpus, runs, tables=None)


def test_without_tables_two_files_of_one_key_are_both_named(corpus: Path, runs: Path) -> None:
    for folder in WIDTHS:
        (corpus / "feats" / folder / "ccccccccccc_0_10.npy").hardlink_to(corpus / "feats" / folder / "ccccccccccc.npy")
    with pytest.raises(
        Refusal, match=r"ccccccccccc\.npy' and '.*ccccccccccc_0_10\.npy' both stand for 'ccccccccccc_0_10'"
    ):
        run(corpus, runs, tables=None)
    assert not (corpus / "out").exists()


def test_two_keys_that_would_read_the_same_files_are_both_named(corpus: Path, runs: Path) -> None:
    for name in ("AVVP_test_pd.csv", "AVVP_dataset_full.csv"):
        table = corpus / "tables" / name
        table.write_text(table.read_text() + "ccccccccccc_50_60\tSpeech\n")
    with pytest.raises(
        Refusal, match=r"'ccccccccccc_30_40' and 'ccccccccccc_50_60'.*would both read '.*ccccccccccc\.npy'"
    ):
        run(corpus, runs)


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


def test_a_damaged_word_of_the_generator_is_refused(corpus: Path, runs: Path) -> None:
    (corpus / "corpus.json").write_text("{")
    with pytest.raises(Refusal, match=r"corpus\.json' must be the JSON that synthesise wrote"):
        run(corpus, runs)


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


def test_a_bad_video_is_left_out_counted_and_listed_when_asked(
    corpus: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vggish = corpus / "feats" / "vggish"
    for name in ("eeeeeeeeeee", "fffffffffff", "ggggggggggg"):
        for folder, shape in WIDTHS.items():
            np.save(corpus / "feats" / folder / f"{name}.npy", np.ones(shape, np.float32))
    np.save(vggish / "-bbbbbbbbbb.npy", _with(np.nan))  # the first of all files
    np.save(vggish / "ccccccccccc.npy", np.zeros((9, 128), np.float32))
    (vggish / "eeeeeeeeeee.npy").write_bytes(b"not an array")
    np.save(vggish / "fffffffffff.npy", _with(1e30))  # an infinity as float16
    run(corpus, runs, tables=None, on_bad="skip", videos_per_shard=2)
    shards = Shards.open(corpus / "out")
    assert shards.keys == ("_dddddddddd_0_10", "aaaaaaaaaaa_0_10", "ggggggggggg_0_10")
    assert shards.manifest.source["left_out"] == {"bad": 4, "missing": 0}
    assert [shard.file for shard in shards.manifest.shards] == ["000000.tar", "000001.tar", "000003.tar"]
    said = capsys.readouterr().out
    assert "Left out 4 bad videos" in said
    assert "-bbbbbbbbbb.npy' holds nan at row 4, column 7" in said
    assert "fffffffffff" not in said  # one more than are named on the screen
    listed = list(csv.DictReader(next(runs.rglob("skipped.csv")).open()))
    assert [row["key"] for row in listed] == [f"{name}_0_10" for name in _LEFT_OUT]
    assert "holds inf at second 4, column 7 (as float16)" in listed[-1]["reason"]


_LEFT_OUT = ("-bbbbbbbbbb", "ccccccccccc", "eeeeeeeeeee", "fffffffffff")


def test_leaving_out_bad_videos_leaves_out_no_missing_one_and_no_other_variant(corpus: Path, runs: Path) -> None:
    np.save(corpus / "feats" / "vggish" / "ccccccccccc.npy", -_with(1.0))
    with pytest.raises(Refusal, match="one variant of 'vggish'"):
        run(corpus, runs, on_bad="skip")
    (corpus / "feats" / "vggish" / "ccccccccccc.npy").unlink()
    with pytest.raises(Refusal, match=r"is missing \(1 of 4 are\)"):
        run(corpus, runs, on_bad="skip")


def test_a_set_whose_videos_are_all_bad_is_refused(corpus: Path, runs: Path) -> None:
    np.save(corpus / "feats" / "vggish" / "ccccccccccc.npy", _with(np.nan))
    with pytest.raises(Refusal, match=r"out/validation' are bad: .*holds nan"):
        run(corpus, runs, on_bad="skip")


def test_videos_that_lack_a_feature_are_left_out_when_asked(corpus: Path, runs: Path) -> None:
    (corpus / "feats" / "vggish" / "aaaaaaaaaaa.npy").unlink()
    run(corpus, runs, missing="skip")
    shards = Shards.open(corpus / "out" / "train")
    assert shards.keys == ("-bbbbbbbbbb_5.5_15.5",)
    assert shards.manifest.source["left_out"] == {"bad": 0, "missing": 1}
    (corpus / "feats" / "vggish" / "ccccccccccc.npy").unlink()
    with pytest.raises(Refusal, match=r"'validation' has none \(the first lacks '.*vggish/ccccccccccc\.npy'\)"):
        run(corpus, runs, missing="skip", replace=True)


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


def test_one_feature_from_two_sources_is_refused_with_both_variants(corpus: Path, runs: Path) -> None:
    write_tfrecord(corpus / "00.tfrecord", [example("abc", 0.0, 10.0, np.zeros((10, 128), np.uint8))])
    with pytest.raises(Refusal, match=r"'vggish' comes from vggish/<id>\.npy.*\(raw\), and from .*\(dequantised\)"):
        run(corpus, runs, tfrecords=(str(corpus),))


def test_an_input_that_cannot_be_read_is_refused_by_name(corpus: Path, runs: Path) -> None:
    for link in ("feats/vggish/-bbbbbbbbbb.npy", "00.tfrecord"):
        (corpus / link).unlink(missing_ok=True)
        (corpus / link).symlink_to("/proc/self/mem")  # a file whose first byte is an I/O error
    with pytest.raises(Refusal, match=r"readable, but '.*/feats' is not \(Input/output error\)"):
        run(corpus, runs)
    with pytest.raises(Refusal, match=rf"readable, but '{corpus}' is not \(Input/output error\)"):
        run(corpus, runs, features=None, tfrecords=(str(corpus),))


def test_a_pack_of_nothing_is_refused(tmp_path: Path, runs: Path) -> None:
    with pytest.raises(Refusal, match="give --features, --tfrecords or --webdataset"):
        run(tmp_path, runs, features=None)


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


def _save(array: np.ndarray, allow_pickle: bool = False) -> Callable[[Path], None]:
    def write(feats: Path) -> None:
        np.save(feats / "vggish" / "ccccccccccc.npy", array, allow_pickle=allow_pickle)

    return write


def _with(value: float) -> np.ndarray:
    array = np.random.default_rng(1).random((10, 128), dtype=np.float32)
    array[4, 7] = value
    return array


def _missing(feats: Path) -> None:
    (feats / "res152" / "ccccccccccc.npy").unlink()


def _garbage(feats: Path) -> None:
    (feats / "vggish" / "ccccccccccc.npy").write_bytes(b"not an array")


def _zip(feats: Path) -> None:
    (feats / "vggish" / "ccccccccccc.npy").write_bytes(b"PK\x03\x04 but no archive")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_missing, r"res152/ccccccccccc.npy' is missing \(1 of 4 are\): extract it"),
        (_save(np.zeros((9, 128), np.float32)), r"ccccccccccc.npy' has shape \(9, 128\): extract it again"),
        (_save(np.zeros((10, 64), np.float32)), r"width 128, but .*ccccccccccc.npy' has shape \(10, 64\)"),
        (_save(np.zeros((0, 128), np.float32)), r"has shape \(0, 128\)"),
        (_save(np.zeros((10, 2, 64), np.float32)), r"ccccccccccc.npy' has shape \(10, 2, 64\) and type float32"),
        (_save(_with(np.nan)), r"finite, but .*ccccccccccc.npy' holds nan at row 4, column 7"),
        (_save(_with(-np.inf)), r"ccccccccccc.npy' holds -inf at row 4"),
        (_save(_with(1e30)), r"holds inf at second 4, column 7 \(as float16\)"),
        (_save(np.array([[{}]], dtype=object), allow_pickle=True), r"plain .npy array, but .*ccccccccccc.npy' is not"),
        (_zip, r"plain .npy array, but .*ccccccccccc.npy' is not"),
        (_save(-_with(1.0)), r"one variant of 'vggish', but .*is signed and others are raw"),
        (_garbage, r"plain .npy array, but .*ccccccccccc.npy' is not"),
        (
            _save(np.arange(1280.0).reshape(10, 128) % 256),
            r"one variant of 'vggish', but .*is quantised and others are raw",
        ),
    ],
)
def test_a_bad_feature_file_ends_pack_with_its_name_and_leaves_no_half_set(
    corpus: Path, runs: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(corpus / "feats")
    with pytest.raises(Refusal, match=message):
        run(corpus, runs)
    assert not (corpus / "out").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("new_0_10\tSpeech,Yodelling", "line 4.*unknown category 'Yodelling'"),
        ("a/b_0_10\tSpeech", "line 4.*holds '/'"),
        ("a\x07b_0_10\tSpeech", r"line 4.*'\\x07'"),
        ("aaaaaaaaaaa_0_10\tSpeech", "line 4.*'aaaaaaaaaaa_0_10' again"),
    ],
)
def test_a_bad_row_of_a_table_ends_pack_with_its_line(corpus: Path, runs: Path, row: str, message: str) -> None:
    table = corpus / "tables" / "AVVP_train.csv"
    table.write_text(table.read_text() + row + "\n")
    with pytest.raises(Refusal, match=message):
        run(corpus, runs)
    assert not (corpus / "out").exists()


def test_an_output_that_is_there_is_kept(corpus: Path, runs: Path) -> None:
    run(corpus, runs)
    with pytest.raises(Refusal, match=r"holds files.*--replace"):
        run(corpus, runs)
    run(corpus, runs, replace=True)
    assert open_sets(corpus / "out")


def test_a_folder_without_features_is_refused(tmp_path: Path, runs: Path) -> None:
    (tmp_path / "feats").mkdir()
    with pytest.raises(Refusal, match="must have feature folders"):
        run(tmp_path, runs)


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
