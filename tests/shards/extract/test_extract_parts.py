"""A list says which parts of which files are extracted; what has no file, or ends early, is told."""

from pathlib import Path

import pytest

from launch.refusal import Refusal
from shards.read import Shards
from tests.shards.extract.fake_decoder import write
from tests.shards.extract.fakes import run
from tests.shards.extract.reading import clips, failures


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two files of three clips, one of them without sound."""
    write(tmp_path / "videos" / "a.mp4", 12.5)
    write(tmp_path / "videos" / "deep" / "mute.mp4", 3, mute=True, noted=True)
    return tmp_path / "videos"


def segments(folder: Path, *lines: str) -> Path:
    path = folder / "segments.csv"
    path.write_text("".join(f"{line}\n" for line in ("# made by hand", *lines)))
    return path


def test_a_list_says_which_parts_are_cut_and_what_has_no_file_is_listed(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = segments(tmp_path, 'a, 2.000, 12.000, "/m/09x0r"', 'gone, 0, 10, "/m/09x0r"', 'a, 20, 30, "/m/0"')
    run(videos, tmp_path / "out", segments=table)
    assert Shards.open(tmp_path / "out").keys == ("a_2_12",)
    assert clips(tmp_path / "out")["a_2_12"]["start"] == 2
    assert [row["second"] for row in failures(tmp_path / "out")] == ["20"]
    assert (tmp_path / "out" / "missing.csv").read_text() == "key\ngone_0_10\n"
    assert Shards.open(tmp_path / "out").manifest.source["left_out"]["missing"] == 1
    said = capsys.readouterr().out
    assert "No file is there for 1 part of the list, as 'gone_0_10': see missing.csv." in said
    assert f"Left aside: 1 file that '{table}' does not name." in said


def test_parts_that_are_cut_short_are_said_with_the_likely_remedy(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(videos, tmp_path / "out", segments=segments(tmp_path, 'a, 5, 15, "/m/09x0r"'))
    said = capsys.readouterr().out
    assert "go on for a second or more beyond their files: 1, as 'a_5_15' in 12.5 s" in said
    assert "--trimmed True" in said


def test_trimmed_files_hold_their_part_from_their_first_second(videos: Path, tmp_path: Path) -> None:
    table = segments(tmp_path, 'a, 30, 40, "/m/09x0r"')
    run(videos, tmp_path / "out", segments=table, trimmed=True)
    assert Shards.open(tmp_path / "out").keys == ("a_30_40",)
    assert clips(tmp_path / "out")["a_30_40"]["start"] == 0


def test_a_list_that_names_no_file_there_is_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"of 2 files, but none does; '.*segments\.csv' names no file that is there"):
        run(videos, tmp_path / "out", segments=segments(tmp_path, 'gone, 0, 10, "/m/09x0r"'))
