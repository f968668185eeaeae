"""The tables load whole, with their known defects reported, or are refused by file, line and value."""

from pathlib import Path

import numpy as np
import pytest

from launch.refusal import Refusal
from shards.labels import CATEGORIES, SPLITS, Span, Tables, feature_id

WEAK = "filename\tevent_labels\n"
DENSE = "filename\tonset\toffset\tevent_labels\n"
FILES = {
    "AVVP_train.csv": WEAK + "aaaaaaaaaaa_0_10\tSpeech,Dog\n-_bbbbbbbbb_1.5_11.5\tCar\n",
    "AVVP_val_pd.csv": WEAK + "ccccccccccc_0_10\tDog\n",
    "AVVP_test_pd.csv": WEAK + "ddddddddddd_0_10\tClapping,Speech\n",
    "AVVP_eval_audio.csv": DENSE + "ccccccccccc_0_10\t0\t10\tDog\nddddddddddd_0_10\t2\t5\tSpeech\n",
    "AVVP_eval_visual.csv": DENSE + "ddddddddddd_0_10\t4\t6\tClapping\n",
}
FILES["AVVP_dataset_full.csv"] = WEAK + "".join(
    FILES[f"AVVP_{name}.csv"].removeprefix(WEAK) for name in ("train", "val_pd", "test_pd")
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def append(folder: Path, name: str, row: str) -> None:
    with (folder / name).open("a") as file:
        file.write(f"{row}\n")


def refusal(folder: Path) -> str:
    with pytest.raises(Refusal) as caught:
        Tables.load(folder)
    return str(caught.value)


def test_the_real_tables_load_with_exactly_their_known_defects(llp: Path) -> None:
    tables = Tables.load(llp)
    defects = tables.defects
    assert [len(tables.keys(split)) for split in SPLITS] == [10_000, 649, 1_200]
    assert (len(defects.unknown), len(defects.empty), len(defects.repeated)) == (25, 6, 8)
    assert sum(row.file.endswith("audio.csv") for row in defects.unknown) == 14
    assert all(row.file.endswith("audio.csv") for row in (*defects.empty, *defects.repeated))
    assert len(set(defects.unknown) & set(defects.empty)) == 1
    assert {row.text for row in defects.doubled} == {"LcFWKgFphXI_20_30\tClapping,Clapping"}
    assert [Path(row.file).name for row in defects.doubled] == ["AVVP_test_pd.csv", "AVVP_dataset_full.csv"]
    assert "30 rows dropped" in defects.report()


def test_the_real_tables_lose_nothing_but_the_dropped_rows(llp: Path) -> None:
    tables = Tables.load(llp)
    kept = sum(len(spans) for spans in (*tables.audio.values(), *tables.visual.values()))
    rows = sum(len((llp / f"AVVP_eval_{m}.csv").read_text().splitlines()) - 1 for m in ("audio", "visual"))
    assert kept == rows - 30
    assert sum("." in key for split in SPLITS for key in tables.keys(split)) == 5


def test_the_real_tables_written_and_read_again_are_the_same_without_defects(llp: Path, tmp_path: Path) -> None:
    tables = Tables.load(llp)
    tables.write(tmp_path)
    again = Tables.load(tmp_path)
    assert (again.weak, again.audio, again.visual) == (tables.weak, tables.audio, tables.visual)
    assert again.defects.dropped == ()
    assert again.defects.doubled == ()
    assert len(again.defects.repeated) == 8


def test_truth_marks_the_seconds_from_onset_to_before_offset(folder: Path) -> None:
    tables = Tables.load(folder)
    audio, visual = tables.truth(["ddddddddddd_0_10", "aaaaaaaaaaa_0_10"])
    assert audio.shape == (2, 25, 10)
    assert np.argwhere(audio[0]).tolist() == [[0, 2], [0, 3], [0, 4]]
    assert np.argwhere(visual[0]).tolist() == [[24, 4], [24, 5]]
    assert not audio[1].any()
    assert not visual[1].any()


def test_the_weak_matrix_follows_the_given_order_and_refuses_a_stranger(folder: Path) -> None:
    tables = Tables.load(folder)
    matrix = tables.weak_matrix(["ccccccccccc_0_10", "aaaaaaaaaaa_0_10"])
    assert [[CATEGORIES[c] for c in np.flatnonzero(row)] for row in matrix] == [["Dog"], ["Speech", "Dog"]]
    with pytest.raises(Refusal, match="stranger_0_10"):
        tables.weak_matrix(["stranger_0_10"])


def test_a_clean_table_says_so_and_no_keys_give_empty_arrays(folder: Path) -> None:
    tables = Tables.load(folder)
    assert tables.defects.report() == "The tables have no defects."
    assert tables.weak_matrix([]).shape == (0, 25)
    assert tables.truth([])[0].shape == (0, 25, 10)


def test_every_kind_of_defect_is_reported_and_only_two_kinds_are_dropped(folder: Path) -> None:
    append(folder, "AVVP_eval_audio.csv", "unknown_0_10\t3\t3\tDog")
    append(folder, "AVVP_eval_audio.csv", "ccccccccccc_0_10\t9\t0\tDog")
    append(folder, "AVVP_eval_audio.csv", "ddddddddddd_0_10\t2\t5\tSpeech")
    append(folder, "AVVP_test_pd.csv", "eeeeeeeeeee_0_10\tCat,Cat")
    tables = Tables.load(folder)
    defects = tables.defects
    assert [row.line for row in defects.dropped] == [4, 5]
    assert (len(defects.unknown), len(defects.empty), len(defects.repeated)) == (1, 2, 1)
    assert tables.audio["ddddddddddd_0_10"] == (Span(0, 2, 5), Span(0, 2, 5))
    assert tables.weak["test"]["eeeeeeeeeee_0_10"] == (CATEGORIES.index("Cat"),)
    assert "line 4, 5" in defects.report()


@pytest.mark.parametrize(
    ("name", "row", "found"),
    [
        ("AVVP_train.csv", "aaaaaaaaaaa_0_10\tCar", "line 4, names 'aaaaaaaaaaa_0_10' again"),
        ("AVVP_train.csv", "fffffffffff_0_10\tSpeach", "line 4, names the unknown category 'Speach'"),
        ("AVVP_train.csv", "fffffffffff_0_10\t", "unknown category ''"),
        ("AVVP_train.csv", "fff/fffffff_0_10\tDog", "'fff/fffffff_0_10' holds '/'"),
        ("AVVP_train.csv", "fff\x07fffffff_0_10\tDog", r"holds '\\x07'"),
        ("AVVP_train.csv", "fffffffffff\tDog", "<id>_<start>_<end>"),
        ("AVVP_train.csv", "fffffffffff_0_10", "line 4, is 'fffffffffff_0_10'"),
        (
            "AVVP_train.csv",
            "ccccccccccc_0_10\tDog",
            "AVVP_val_pd.csv names 'ccccccccccc_0_10', as does AVVP_train",
        ),
        ("AVVP_dataset_full.csv", "ggggggggggg_0_10\tCow", "unknown category 'Cow'"),
        ("AVVP_eval_visual.csv", "ccccccccccc_0_10\t1.5\t3\tDog", "onset must be a whole second .* '1.5'"),
        ("AVVP_eval_visual.csv", "ccccccccccc_0_10\t1\t11\tDog", "offset must be a whole second .* '11'"),
        ("AVVP_eval_visual.csv", "ccccccccccc_0_10\t-1\t3\tDog", "onset must be a whole second .* '-1'"),
        (
            "AVVP_eval_audio.csv",
            "ccccccccccc_0_10\t1\t3\tdog",
            "line 4, names the unknown category 'dog'.*'Dog'",
        ),
    ],
)
def test_a_bad_row_is_refused_by_file_line_and_value(folder: Path, name: str, row: str, found: str) -> None:
    append(folder, name, row)
    message = refusal(folder)
    assert name in message
    with pytest.raises(Refusal, match=found):
        Tables.load(folder)


def test_a_missing_table_is_refused_by_name(folder: Path) -> None:
    (folder / "AVVP_eval_visual.csv").unlink()
    assert "AVVP_eval_visual.csv" in refusal(folder)


def test_wrong_columns_are_refused_with_the_right_ones(folder: Path) -> None:
    (folder / "AVVP_val_pd.csv").write_text("filename,event_labels\n")
    message = refusal(folder)
    assert "line 1 is 'filename,event_labels'" in message
    assert "('filename', 'event_labels')" in message


def test_a_table_that_is_not_text_is_refused(folder: Path) -> None:
    (folder / "AVVP_val_pd.csv").write_bytes(b"\x80\x02pickled")
    assert "UTF-8" in refusal(folder)


def test_a_label_that_differs_from_the_full_table_is_refused(folder: Path) -> None:
    text = FILES["AVVP_dataset_full.csv"].replace("ccccccccccc_0_10\tDog", "ccccccccccc_0_10\tCat")
    (folder / "AVVP_dataset_full.csv").write_text(text)
    assert "'ccccccccccc_0_10' with other categories" in refusal(folder)


def test_windows_line_ends_and_a_byte_order_mark_are_read(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert Tables.load(folder).keys("train") == ("aaaaaaaaaaa_0_10", "-_bbbbbbbbb_1.5_11.5")


def test_restricted_tables_keep_the_tables_order(folder: Path) -> None:
    chosen = {"train": ["-_bbbbbbbbb_1.5_11.5"], "validation": [], "test": ["ddddddddddd_0_10"]}
    tables = Tables.load(folder).restrict(chosen)
    assert tables.keys("train") == ("-_bbbbbbbbb_1.5_11.5",)
    assert tables.keys("validation") == ()
    assert list(tables.audio) == ["ddddddddddd_0_10"]
    assert list(tables.visual) == ["ddddddddddd_0_10"]


def test_the_feature_id_is_the_key_without_its_last_two_fields() -> None:
    assert feature_id("AP0061o0Nvk_101.8_111.8") == "AP0061o0Nvk"
    assert feature_id("_a_b_c-d_30_40") == "_a_b_c-d"
    with pytest.raises(Refusal, match="no_times"):
        feature_id("no_times")
