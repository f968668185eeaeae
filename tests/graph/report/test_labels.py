from pathlib import Path

import pytest

from graph.report.labels import labels_of, plain_key, read_labels
from launch.refusal import Refusal

SEGMENTS = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=2, num_segs=2, num_unique_labels=3, num_positive_labels=3
# YTID, start_seconds, end_seconds, positive_labels
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"
a_b, 101.800, 111.800, "/m/0dgw9r"
"""


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_segments_of_audioset_are_labels_by_key_whatever_way_times_are_written(tmp_path: Path) -> None:
    found = read_labels([write(tmp_path, SEGMENTS)])
    assert found["--4gqARaEJE_0_10"] == {"/m/068hy", "/m/07q6cd_"}
    keys = ["a_b_101.8_111.8", "a_b_101.80_111.800", "--4gqARaEJE_0.0_10", "--4gqARaEJE_10_20"]
    assert [len(each) for each in labels_of(keys, found)] == [1, 1, 2, 0]


def test_a_weak_table_is_labels_by_key(tmp_path: Path) -> None:
    table = "filename\tevent_labels\nBjCEufrlXm4_20_30\tSpeech,Dog\nAP0061o0Nvk_101.8_111.8\tCar\n"
    found = read_labels([write(tmp_path, table)])
    assert found == {"BjCEufrlXm4_20_30": {"Speech", "Dog"}, "AP0061o0Nvk_101.8_111.8": {"Car"}}


def test_the_real_tables_are_read_together(llp: Path) -> None:
    found = read_labels([llp / "AVVP_train.csv", llp / "AVVP_dataset_full.csv"])
    assert len(found) > 11_000
    assert "Speech" in frozenset().union(*found.values())


def test_no_tables_are_no_labels() -> None:
    assert read_labels([]) == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("key;label\n", r"Labels must be a weak table .* begins with 'key;label"),
        ("", "Labels must be a weak table"),
        ("# only\n# comments\n", "holds only comments"),
        (SEGMENTS + "c, 0.000, ten, x\n", "line 6, is 'c, 0.000, ten, x'"),
        (SEGMENTS + "c, 0.000, 10.000\n", "line 6"),
        (SEGMENTS + 'c, 0.000, 10.000, ""\n', "must have a video and a label"),
        (SEGMENTS + 'a_b, 101.8, 111.8, "other"\n', "one set of labels, but .* line 6, gives 'a_b_101.8_111.8'"),
        ("filename\tevent_labels\na_0_10\tUnicorn\n", "unknown category"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        read_labels([write(tmp_path, text)])


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x80")
    for name in ("missing", "binary"):
        with pytest.raises(Refusal, match=f"text file in UTF-8, but .*{name}"):
            read_labels([tmp_path / name])


def test_a_key_without_times_stays_as_it_is() -> None:
    assert [plain_key(key) for key in ("video", "a_b_c", "_0_10", "x_0100.0_7")] == [
        "video",
        "a_b_c",
        "_0_10",
        "x_100_7",
    ]
