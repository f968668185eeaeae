"""`pack` refuses a bad input with one sentence and leaves nothing behind, or leaves bad videos out and lists them."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from launch.refusal import Refusal
from shards.read import Shards, open_sets
from tests.shards.corpora import WIDTHS, run
from tests.shards.foreign import example, write_tfrecord


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


def test_a_damaged_word_of_the_generator_is_refused(corpus: Path, runs: Path) -> None:
    (corpus / "corpus.json").write_text("{")
    with pytest.raises(Refusal, match=r"corpus\.json' must be the JSON that synthesise wrote"):
        run(corpus, runs)


def test_a_bad_video_is_left_out_counted_and_listed_when_asked(
    corpus: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vggish = corpus / "feats" / "vggish"
    for name in ("eeeeeeeeeee", "fffffffffff", "ggggggggggg", "hhhhhhhhhhh"):
        for folder, shape in WIDTHS.items():
            np.save(corpus / "feats" / folder / f"{name}.npy", np.ones(shape, np.float32))
    np.save(vggish / "-bbbbbbbbbb.npy", _with(np.nan))  # the first of all files
    np.save(vggish / "ccccccccccc.npy", np.zeros((9, 128), np.float32))
    (vggish / "eeeeeeeeeee.npy").write_bytes(b"not an array")
    np.save(vggish / "fffffffffff.npy", _with(1e30))  # an infinity as float16
    run(corpus, runs, tables=None, on_bad="skip", videos_per_shard=2)
    shards = Shards.open(corpus / "out")
    assert shards.keys == ("_dddddddddd_0_10", "aaaaaaaaaaa_0_10", "ggggggggggg_0_10", "hhhhhhhhhhh_0_10")
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


def test_videos_that_lack_a_feature_are_left_out_when_asked(
    corpus: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "feats" / "vggish" / "aaaaaaaaaaa.npy").unlink()
    run(corpus, runs, missing="skip")
    shards = Shards.open(corpus / "out" / "train")
    assert shards.keys == ("-bbbbbbbbbb_5.5_15.5",)
    assert shards.manifest.source["left_out"] == {"bad": 0, "missing": 1}
    (corpus / "feats" / "vggish" / "ccccccccccc.npy").unlink()
    run(corpus, runs, missing="skip", replace=True)
    assert sorted(open_sets(corpus / "out")) == ["test", "train"]
    assert "No video of the tables' validation split has every feature" in capsys.readouterr().out
    for file in (corpus / "feats" / "vggish").glob("*.npy"):
        file.rename(file.with_name(f"other{file.name}"))
    with pytest.raises(Refusal, match=r"'train' has none \(the first lacks '.*vggish/aaaaaaaaaaa\.npy'\)"):
        run(corpus, runs, missing="skip", replace=True)
    with pytest.raises(Refusal, match=r"\(4 of 4 are\): give the tables of these features"):
        run(corpus, runs, replace=True)


def test_more_bad_videos_than_good_ones_are_no_corpus(corpus: Path, runs: Path) -> None:
    for number in range(9):
        for folder, shape in WIDTHS.items():
            np.save(corpus / "feats" / folder / f"z{number}.npy", np.ones(shape, np.float32))
        (corpus / "feats" / "vggish" / f"z{number}.npy").write_bytes(b"not an array")
    with pytest.raises(Refusal, match=r"At most half .* 9 of 13 of .*out' are, the first so: .*z0\.npy' is not"):
        run(corpus, runs, tables=None, on_bad="skip")


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


def test_a_folder_without_features_is_refused(tmp_path: Path, runs: Path) -> None:
    (tmp_path / "feats").mkdir()
    with pytest.raises(Refusal, match="must have feature folders"):
        run(tmp_path, runs)


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
