"""Files and folders appear whole or not at all."""

import os
from pathlib import Path

import pytest

from launch.atomic import whole_file, whole_folder
from launch.refusal import Refusal


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


def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refusal, match="must not be a file"), whole_folder(tmp_path / "file", True):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_an_exit_between_the_two_renames_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old.json").touch()
    real = os.replace

    def replace_then_die(source: Path, destination: Path) -> None:
        real(source, destination)
        if source == target:
            monkeypatch.setattr(os, "replace", real)
            raise SystemExit(143)

    monkeypatch.setattr(os, "replace", replace_then_die)
    with pytest.raises(SystemExit), whole_folder(target, replace=True) as temporary:
        (temporary / "new.json").touch()
    assert [path.name for path in target.iterdir()] == ["old.json"]
    assert list(tmp_path.iterdir()) == [target]


def _write_and_fail(path: Path) -> None:
    path.write_text("half")
    raise RuntimeError
