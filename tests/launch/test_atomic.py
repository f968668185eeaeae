"""Files and folders appear whole or not at all."""

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
    (target / "precious").touch()
    with pytest.raises(Refusal, match=r"holds files.*--replace"), whole_folder(target):
        pass
    assert (target / "precious").exists()
    with whole_folder(target, replace=True) as temporary:
        (temporary / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with whole_folder(tmp_path / "folder") as temporary:
        (temporary / "file").touch()
    assert (tmp_path / "folder" / "file").exists()


def _write_and_fail(path: Path) -> None:
    path.write_text("half")
    raise RuntimeError
