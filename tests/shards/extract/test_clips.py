"""Files are cut by tens or by a list; keys say where; what cannot be cut is named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.refusal import Refusal
from shards.extract.clips import SLACK, SLIVER, Clip, cut, parts_of_tables, read_segments
from shards.schema import seconds_of

HEAD = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2\n# YTID, start_seconds, end_seconds, labels\n"


def keys(of: object) -> list[str]:
    return [clip.key for clip in of.clips]  # type: ignore[attr-defined]


def segments(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "segments.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("stem", "seconds", "expected"),
    [
        ("x", 22.4, ["x_0_10", "x_10_20", "x_20_22.4"]),
        ("x", 20.3, ["x_0_10", "x_10_20"]),
        ("x", 20.5, ["x_0_10", "x_10_20", "x_20_20.5"]),
        ("x", 0.3, ["x_0_0.3"]),
        ("x", 0.0402, ["x_0_0.04"]),
        ("x", 1.0, ["x_0_1"]),
        ("x", 4.021, ["x_0_4"]),
        ("x", 10.0, ["x_0_10"]),
        ("-x y ü", 3.0, ["-x y ü_0_3"]),
        ("x_30_40", 10.2, ["x_30_40"]),
        ("x_30_40", 10.6, ["x_30_40_0_10", "x_30_40_10_10.6"]),
        ("x_101.8_111.8", 9.9, ["x_101.8_111.8"]),
        ("x_5_30", 9.0, ["x_5_30_0_9"]),
        ("x_9_9", 9.0, ["x_9_9_0_9"]),
        ("2020_01", 5.0, ["2020_01_0_5"]),
    ],
)
def test_a_whole_file_is_cut_by_tens_unless_its_name_is_the_key(stem: str, seconds: float, expected: list[str]) -> None:
    assert keys(cut(stem, seconds)) == expected


def test_the_clip_of_a_file_that_is_its_own_key_begins_at_the_files_start() -> None:
    assert cut("x_30_37", 7.3).clips == (Clip("x_30_37", 0.0, 7.0),)
    assert cut("x_30_40", 6.5).clips == (Clip("x_30_40", 0.0, 6.5),)
    assert cut("x_30_40", 6.5).clips[0].seconds == 10


def test_a_tail_that_is_left_out_is_said() -> None:
    assert cut("x", 20.3).dropped == pytest.approx(0.3)
    assert cut("x", 20.02).dropped == 0
    assert cut("x", 20.5).dropped == 0


@given(st.floats(0.001, 20_000))
def test_clips_follow_each_other_without_a_gap_and_leave_out_less_than_the_slack(seconds: float) -> None:
    got = cut("x", seconds)
    assert got.clips[0].start == 0
    assert all(first.end == second.start for first, second in zip(got.clips, got.clips[1:], strict=False))
    assert abs(got.clips[-1].end + got.dropped - seconds) <= SLIVER + 0.001
    assert 0 <= got.dropped < SLACK
    for clip in got.clips:
        assert 0 < clip.end - clip.start <= 10
        assert clip.seconds == seconds_of(clip.key) <= clip.end - clip.start + 1


@pytest.mark.parametrize("stem", ["", "a\nb", "a\x00b"])
def test_a_name_that_no_key_can_hold_is_refused(stem: str) -> None:
    with pytest.raises(Refusal, match="key must be printable"):
        cut(stem, 5)


def test_segments_in_audiosets_format_are_read(tmp_path: Path) -> None:
    text = HEAD + '--aE2O5G5WE, 0.000, 10.000, "/m/03fwl,/m/04rlf"\n_x, 30.500, 37.250, "/m/068hy"\n\n-y, 3, 5\n'
    parts = read_segments(segments(tmp_path, text))
    assert list(parts.of) == ["--aE2O5G5WE", "_x", "-y"]
    assert parts.of["_x"] == (Clip("_x_30.5_37.25", 30.5, 37.25),)
    assert parts.without_file({"_x"}) == ("--aE2O5G5WE_0_10", "-y_3_5")
    assert parts.wants("-y")
    assert not parts.wants("_x_1_2")


def test_parts_of_one_file_come_in_order_of_time_and_long_ones_by_tens(tmp_path: Path) -> None:
    parts = read_segments(segments(tmp_path, "x, 40, 65\nx, 5, 10\nx, 7.5, 9.5\n"))
    got = parts.cut("x", 100.0)
    assert keys(got) == ["x_5_10", "x_7.5_9.5", "x_40_50", "x_50_60", "x_60_65"]
    assert got.clips[0] == Clip("x_5_10", 5.0, 10.0)


def test_parts_beyond_the_files_end_are_told_apart_and_one_across_it_is_short(tmp_path: Path) -> None:
    parts = read_segments(segments(tmp_path, "x, 0, 10\nx, 30, 40\n"))
    got = parts.cut("x", 6.0)
    assert got.clips == (Clip("x_0_10", 0.0, 6.0),)
    assert [clip.key for clip in got.beyond] == ["x_30_40"]
    assert parts.cut("y", 6.0).clips == ()


def test_a_trimmed_file_holds_its_part_from_its_start_on(tmp_path: Path) -> None:
    parts = read_segments(segments(tmp_path, "x, 30, 40\n"))
    assert parts.cut("x", 10.02, trimmed=True).clips == (Clip("x_30_40", 0.0, 10.0),)
    assert parts.cut("x", 6.0, trimmed=True).clips == (Clip("x_30_40", 0.0, 6.0),)
    assert parts.cut("x", 100.0).clips == (Clip("x_30_40", 30.0, 40.0),)


def test_a_file_named_by_the_whole_key_holds_that_part_alone(tmp_path: Path) -> None:
    parts = read_segments(segments(tmp_path, "x, 30, 40\nx, 50, 60\n"))
    assert parts.wants("x_50_60")
    assert parts.cut("x_50_60", 10.1).clips == (Clip("x_50_60", 0.0, 10.0),)
    assert parts.cut("x_50_60", 100.0).clips == ()
    assert parts.without_file({"x_50_60"}) == ("x_30_40",)


def test_one_trimmed_file_cannot_hold_two_parts(tmp_path: Path) -> None:
    parts = read_segments(segments(tmp_path, "x, 30, 40\nx, 50, 60\n"))
    with pytest.raises(Refusal, match="names 2 parts of 'x'"):
        parts.cut("x", 10.0, trimmed=True)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("x, 30", "line 4, has 2"),
        ("x, 30, 40, a, b", "line 4, has 5"),
        ("x, a, 40", "line 4, has 'a'"),
        ("x, nan, 40", "line 4, has 'nan'"),
        ("x, -1, 40", "line 4, has '-1'"),
        ("x, 30, inf", "line 4, has 'inf'"),
        ("x, 30, 30", "line 4, goes from 30.0 to 30.0"),
        ("x, 40, 30", "line 4, goes from 40.0 to 30.0"),
        ("a/b, 30, 40", "line 4: rename"),
        (", 30, 40", "empty key"),
        ("YTID, start_seconds, end_seconds", "line 4, has 'start_seconds'"),
        ("y, 1, 2\ny, 1.0, 2.000", "line 5, names 'y_1_2' again, as does line 4"),
    ],
)
def test_a_bad_line_of_a_list_is_named(tmp_path: Path, line: str, found: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_segments(segments(tmp_path, f"{HEAD}{line}\n"))
    assert found in str(caught.value)


def test_a_list_that_is_not_there_or_empty_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="No such file"):
        read_segments(tmp_path / "none.csv")
    with pytest.raises(Refusal, match="at least one"):
        read_segments(segments(tmp_path, HEAD))
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00x")
    with pytest.raises(Refusal, match="UTF-8"):
        read_segments(tmp_path / "bytes.csv")


def test_the_real_tables_name_every_video_by_its_own_key(llp: Path) -> None:
    parts = parts_of_tables(llp)
    clips = [clip for each in parts.of.values() for clip in each]
    assert len(clips) == 11_849
    assert all(got.clips[0].key == clip.key for clip in clips[:500] if (got := parts.cut(clip.key, 10.0)))
    fractional = next(clip for clip in clips if clip.key == "AP0061o0Nvk_101.8_111.8")
    assert parts.cut("AP0061o0Nvk", 200.0).clips == (fractional,)
    assert parts.cut("AP0061o0Nvk", 10.0, trimmed=True).clips == (Clip(fractional.key, 0.0, 10.0),)
