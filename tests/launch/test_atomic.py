"""Files and folders appear whole or not at all."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from launch.atomic import Unfinished, remove_lost, resumable_folder, run_of, whole_file, whole_folder
from launch.refusal import Refusal
from launch.target import check_target


def test_a_file_appears_at_a_clean_end_only(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    with whole_file(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError), whole_file(target) as temporary:
        _write_and_fail(temporary)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_appears_at_a_clean_end_only(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with whole_folder(target) as temporary:
        (temporary / "file").write_text("new")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["file"]
    assert list(tmp_path.iterdir()) == [target]


def test_an_exception_leaves_no_half_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "folder") as temporary:
        _write_and_fail(temporary / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "scores.json").touch()
    with pytest.raises(Refusal, match=r"holds files.*--replace"), whole_folder(target):
        pass
    assert (target / "scores.json").exists()
    with whole_folder(target, replace=True) as temporary:
        (temporary / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_lost_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (f".a[b].{2**22 + 1}.part", f".a[b].{os.getpid()}.part", ".a[b].part", f".ab.{2**22 + 1}.part"):
        (tmp_path / name).mkdir()
    remove_lost(tmp_path / "a[b]")
    assert {path.name for path in tmp_path.iterdir()} == {
        f".a[b].{os.getpid()}.part", ".a[b].part", f".ab.{2**22 + 1}.part",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["video.pfsx", ".DS_Store", "Thumbs.db"])
def test_what_viewers_leave_in_a_result_does_not_keep_it_from_being_replaced(tmp_path: Path, name: str) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    for each in ("scores.json", name):
        (target / each).touch()
    with whole_folder(target, replace=True) as temporary:
        (temporary / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with whole_folder(tmp_path / "folder") as temporary:
        (temporary / "file").touch()
    assert (tmp_path / "folder" / "file").exists()


def test_what_no_stage_wrote_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "shards"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "pack.py").touch()
    with pytest.raises(Refusal, match=r"holds 'deep/pack\.py', which no stage wrote"), whole_folder(source, True):
        pass
    here = tmp_path / "here"
    (here / "inner").mkdir(parents=True)
    monkeypatch.chdir(here / "inner")
    with pytest.raises(Refusal, match="is where this command runs"), whole_folder(here, True):
        pass
    assert (source / "deep" / "pack.py").exists()


@pytest.mark.parametrize(
    "names", [("my_photo.png", "my.json", "my.csv"), ("holiday.mp4",), ("manifest.json", "holiday.mp4")]
)
def test_a_folder_of_files_that_only_end_like_results_is_never_replaced(tmp_path: Path, names: Sequence[str]) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in names:
        (mine / name).touch()
    with pytest.raises(Refusal, match=r"holds files: give another --out\.$"):
        check_target(mine, replace=False)  # and does not advise to replace it
    with pytest.raises(Refusal, match="Only a stage's result may be replaced"), whole_folder(mine, True):
        pass
    assert {path.name for path in mine.iterdir()} == set(names)


def test_films_are_a_result_and_so_is_a_folder_of_sets(tmp_path: Path) -> None:
    for name, files in (("films", ("films.json", "videos/a.mp4")), ("shards", ("train/manifest.json",))):
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).touch()
        check_target(tmp_path / name, replace=True)


def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refusal, match="must not be a file"), whole_folder(tmp_path / "file", True):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_folder_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.webm").touch()
    with (
        pytest.raises(Refusal, match=r"must lie in a folder, but '.*/x/y' lies in the file '.*a\.webm'"),
        whole_folder(tmp_path / "a.webm/x/y"),
    ):
        pass


def test_an_exit_between_the_two_renames_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "scores.json").touch()
    real = os.replace

    def replace_then_die(source: Path, destination: Path) -> None:
        real(source, destination)
        if source == target:
            monkeypatch.setattr(os, "replace", real)
            raise SystemExit(143)

    monkeypatch.setattr(os, "replace", replace_then_die)
    with pytest.raises(SystemExit), whole_folder(target, replace=True) as temporary:
        (temporary / "new.json").touch()
    assert [path.name for path in target.iterdir()] == ["scores.json"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_resumable_folder_appears_whole_at_a_clean_end_and_its_notes_never(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with resumable_folder(target, {"width": "1"}) as unfinished:
        (unfinished.result / "new.json").touch()
        (unfinished.notes / "new").touch()
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["new.json"]
    assert list(target.parent.iterdir()) == [target]


def test_the_next_start_with_the_same_plan_finds_what_the_last_one_left(tmp_path: Path) -> None:
    _leave_half(tmp_path / "folder", {"width": "1"})
    assert not (tmp_path / "folder").exists()
    with resumable_folder(tmp_path / "folder", {"width": "1"}) as unfinished:
        assert (unfinished.notes / "first").read_text() == "half"
        assert (unfinished.result / "first.json").exists()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["first.json"]


def test_the_run_that_began_a_folder_is_known_to_the_next_start_with_the_same_plan_alone(tmp_path: Path) -> None:
    folder, plan = tmp_path / "folder", {"width": "1"}
    assert run_of(folder, plan) == ""
    _leave_half(folder, plan)
    assert (run_of(folder, plan), run_of(folder, {"width": "2"})) == ("c0ffee", "")
    with resumable_folder(folder, plan):
        pass
    assert run_of(folder, plan) == ""


def test_another_plan_starts_over_and_says_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _leave_half(tmp_path / "folder", {"width": "1", "height": "2", "depth": "3"})
    with resumable_folder(tmp_path / "folder", {"width": "2", "height": "2", "length": "1"}) as unfinished:
        assert list(unfinished.notes.iterdir()) == list(unfinished.result.iterdir()) == []
    said = capsys.readouterr().out
    assert said.startswith("Starting over: ")
    assert said.endswith("holds the beginnings of one with another width, depth, length.\n")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_what_was_begun_by_another_plan_can_be_kept_by_a_refusal_that_says_what_changed(tmp_path: Path) -> None:
    _leave_half(tmp_path / "folder", {"width": "1", "height": "2"})
    kept = pytest.raises(Refusal, match=r"holds the beginnings of one with another width: restore it.*--replace True")
    with kept, resumable_folder(tmp_path / "folder", {"width": "2", "height": "2"}, start_over=False):
        pytest.fail("it was begun")
    with resumable_folder(tmp_path / "folder", {"width": "1", "height": "2"}, start_over=False) as unfinished:
        assert (unfinished.notes / "first").read_text() == "half"


def test_another_plan_that_has_noted_nothing_is_no_loss(tmp_path: Path) -> None:
    (tmp_path / ".folder.part" / "killed" / "notes").mkdir(parents=True)
    with resumable_folder(tmp_path / "folder", {"width": "2"}, start_over=False) as unfinished:
        (unfinished.result / "new.json").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_plan_that_cannot_be_read_starts_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _leave_half(tmp_path / "folder", {"width": "1"})
    next(tmp_path.glob(".folder.part/*/plan.json")).write_text("{")
    with resumable_folder(tmp_path / "folder", {"width": "2"}) as unfinished:
        assert list(unfinished.notes.iterdir()) == []
    assert "the beginnings of another result" in capsys.readouterr().out


def test_a_failure_before_the_first_note_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), resumable_folder(tmp_path / "folder", {}) as unfinished:
        _write_and_fail(unfinished.result / "file")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_cannot_make_one_folder(tmp_path: Path) -> None:
    with resumable_folder(tmp_path / "folder", {}) as unfinished:
        with pytest.raises(Refusal, match=r"another is at work in '.*\.folder\.part'"):
            _leave_half(tmp_path / "folder", {})
        (unfinished.result / "whole.json").touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["whole.json"]


def test_a_lock_whose_folder_went_with_its_holder_is_not_taken_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, real = tmp_path / ".folder.part", fcntl.flock

    def holder_finishes_first(lock: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        (part / "lock").unlink()
        part.rmdir()
        real(lock, how)

    monkeypatch.setattr(fcntl, "flock", holder_finishes_first)
    with resumable_folder(tmp_path / "folder", {}), (part / "lock").open("w") as lock, pytest.raises(BlockingIOError):
        real(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_appeared_meanwhile_is_kept_and_so_is_the_work(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "scores.json").touch()
    kept = pytest.raises(Refusal, match=r"holds files.*--replace")
    with kept, resumable_folder(tmp_path / "folder", {}) as unfinished:
        _leave_note_and_move(unfinished.notes / "first", tmp_path / "other", tmp_path / "folder")
    assert (tmp_path / "folder" / "scores.json").exists()
    assert (unfinished.notes / "first").exists()


def test_a_resumable_folder_takes_the_place_of_another_only_when_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "scores.json").touch()
    with pytest.raises(Refusal, match=r"holds files.*--replace"), resumable_folder(tmp_path / "folder", {}):
        pass
    with resumable_folder(tmp_path / "folder", {}, replace=True) as unfinished:
        (unfinished.result / "new.json").touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new.json"]
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_kill_between_the_two_renames_costs_neither_the_old_nor_the_new(tmp_path: Path) -> None:
    _leave_half(tmp_path / "folder", {"width": "1"})
    (tmp_path / ".folder.part" / "old").mkdir()
    (tmp_path / ".folder.part" / "old" / "scores.json").touch()
    with pytest.raises(Refusal, match=r"holds files.*--replace"), resumable_folder(tmp_path / "folder", {"width": "1"}):
        pass
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["scores.json"]
    with resumable_folder(tmp_path / "folder", {"width": "1"}, replace=True):
        pass
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["first.json"]


def test_a_kill_after_both_renames_leaves_nothing_for_the_next_to_stumble_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".folder.part" / "old").mkdir(parents=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "scores.json").touch()
    with resumable_folder(tmp_path / "folder", {}, replace=True) as unfinished:
        (unfinished.result / "newer.json").touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["newer.json"]
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
    assert capsys.readouterr().out == ""


def _leave_half(target: Path, plan: dict[str, str]) -> None:
    with pytest.raises(RuntimeError), resumable_folder(target, plan) as unfinished:
        _leave_and_fail(unfinished)


def _leave_and_fail(unfinished: Unfinished) -> None:
    (unfinished.result / "first.json").touch()
    unfinished.run.write_text("c0ffee")
    _write_and_fail(unfinished.notes / "first")


def _leave_note_and_move(note: Path, source: Path, target: Path) -> None:
    note.touch()
    source.rename(target)


def _write_and_fail(path: Path) -> None:
    path.write_text("half")
    raise RuntimeError
