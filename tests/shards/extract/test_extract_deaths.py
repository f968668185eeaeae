"""A file that ends whatever process reads it is listed and left out, and costs nothing but itself."""

import csv
from pathlib import Path

import pytest

from launch.refusal import Refusal
from shards.read import Shards
from tests.shards.extract.fake_decoder import write
from tests.shards.extract.fakes import run


def plant(folder: Path, **deadly: object) -> Path:
    """Three files of two clips; the second is deadly so."""
    for name in "abc":
        write(folder / f"{name}.mp4", 20, **(deadly if name == "b" else {}))
    return folder


def failures(out: Path) -> list[tuple[str, str, str]]:
    return [(row["file"], row["second"], row["reason"]) for row in csv.DictReader((out / "failures.csv").open())]


@pytest.mark.parametrize(("dies", "left", "second"), [("at once", [], ""), (10, ["b_0_10"], "10"), (0, [], "0")])
def test_a_deadly_file_is_listed_with_how_the_process_ended_and_all_others_are_made(
    tmp_path: Path, dies: object, left: list[str], second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = plant(tmp_path / "videos", dies=dies)
    run(videos, tmp_path / "out", processes=2)
    assert Shards.open(tmp_path / "out").keys == ("a_0_10", "a_10_20", *left, "c_0_10", "c_10_20")
    first, *more = failures(tmp_path / "out")
    assert first[:2] == ("b.mp4", second)
    assert first[2] == (
        f"A video must leave alive what reads it, but two processes ended over '{videos / 'b.mp4'}', the second of "
        "which did nothing else and was killed by SIGSEGV: convert it, or leave it out."
    )
    assert [each[:2] for each in more] == ([("b.mp4", "10")] if dies == 0 else [])
    assert "was killed by SIGSEGV while 'b.mp4' was in its hands: this is tried once more" in capsys.readouterr().out


def test_a_lone_clip_is_decoded_apart_from_the_stage_too(tmp_path: Path) -> None:
    write(tmp_path / "videos/a.mp4", 5, dies=0)
    with pytest.raises(Refusal, match=r"all of '.*out' are bad, the first so: a\.mp4, second 0: A video must leave"):
        run(tmp_path / "videos", tmp_path / "out", processes=2)


def test_a_process_that_dies_of_something_else_costs_no_clip(tmp_path: Path) -> None:
    run(plant(tmp_path / "videos", dies_once=True), tmp_path / "out", processes=2, pattern="*.mp4")
    assert len(Shards.open(tmp_path / "out").keys) == 6
    assert failures(tmp_path / "out") == []


def test_a_deadly_file_stops_all_when_asked(tmp_path: Path) -> None:
    videos = plant(tmp_path / "videos", dies=0)
    with pytest.raises(Refusal, match=r"over '.*b\.mp4', .*, or go on without what is bad \(--on_bad skip\)"):
        run(videos, tmp_path / "out", processes=2, on_bad="stop")
    assert not (tmp_path / "out").exists()


def test_where_one_file_after_the_other_is_deadly_it_is_not_the_files(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / f"videos/{number}.mp4", 5, dies="at once")
    with pytest.raises(ChildProcessError, match=r"5 files in a row, '0\.mp4', '1\.mp4', .*: see to the memory"):
        run(tmp_path / "videos", tmp_path / "out", processes=2)
