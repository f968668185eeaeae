"""Files are found deep, in the order of their names, whatever they are called; what is no file is told."""

import os
from pathlib import Path

import pytest

from launch.refusal import Refusal
from shards.extract.making.files import find


def plant(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"film")
    return folder


def names(*places: Path, pattern: str = "*", aside: tuple[Path, ...] = ()) -> list[str]:
    return [file.name for file in find(places, pattern, aside).files]


def test_files_are_found_deep_in_the_order_of_their_names(tmp_path: Path) -> None:
    plant(tmp_path, "b.mp4", "a/z.mkv", "a/y/x.mp4", "-first.mp4")
    assert names(tmp_path) == ["-first.mp4", "a/y/x.mp4", "a/z.mkv", "b.mp4"]


def test_hidden_files_and_folders_are_left_aside_and_so_are_those_that_the_stage_writes(tmp_path: Path) -> None:
    plant(tmp_path, ".hidden.mp4", ".cache/x.mp4", "out/000000.tar", ".out.part/x.tar", "runs/mlflow.db", "a.mp4")
    assert names(tmp_path, aside=(tmp_path / "out", tmp_path / "runs")) == ["a.mp4"]


def test_a_pattern_chooses_by_the_name_of_the_file(tmp_path: Path) -> None:
    plant(tmp_path, "a.mp4", "a.json", "b/c.mp4", "b/c.MP4")
    assert names(tmp_path, pattern="*.mp4") == ["a.mp4", "b/c.mp4"]


def test_files_may_be_named_themselves_whatever_the_pattern_and_however_often(tmp_path: Path) -> None:
    plant(tmp_path, "a.mkv", "b/.c.mp4")
    found = find([tmp_path / "b" / ".c.mp4", tmp_path / "a.mkv", tmp_path], "*.mkv")
    assert [(file.name, file.stem) for file in found.files] == [(".c.mp4", ".c"), ("a.mkv", "a")]
    assert found.files[1].path == tmp_path / "a.mkv"
    assert found.files[1].stamp == (4, (tmp_path / "a.mkv").stat().st_mtime_ns)


def test_one_file_by_several_spellings_is_one(tmp_path: Path) -> None:
    plant(tmp_path, "v/a.mp4", "v/deep/b.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "v")
    v = tmp_path / "v"
    assert names(v, v / ".." / "v" / "a.mp4", tmp_path / "link", v / "deep" / ".." / "deep") == ["a.mp4", "b.mp4"]


def test_paths_hold_no_way_up_and_keep_links(tmp_path: Path) -> None:
    plant(tmp_path, "v/a.mp4", "w/c")
    (tmp_path / "link").symlink_to(tmp_path / "v")
    for place in (tmp_path / "w/../v", tmp_path / "w/../v/a.mp4", tmp_path / "v/deep/..", tmp_path / "v"):
        (tmp_path / "v/deep").mkdir(exist_ok=True)
        assert [file.path for file in find([place], "*").files] == [tmp_path / "v/a.mp4"]
    assert [file.path for file in find([tmp_path / "link"], "*").files] == [tmp_path / "link/a.mp4"]


def test_a_path_that_is_named_must_be_text(tmp_path: Path) -> None:
    folder = plant(tmp_path / "\udcff", "a.mp4")
    assert names(tmp_path) == ["\udcff/a.mp4"]
    for place in (folder, folder / "a.mp4"):
        with pytest.raises(Refusal, match=r"must be text, but '.*udcff.*' has bytes that are no UTF-8"):
            names(place)


@pytest.mark.parametrize(
    "name", ["-rf", "日本語 ü.mp4", "a\nb.mp4", "concat:x|y.mp4", "%03d.mp4", "$(touch x)", "\udcff.mp4"]
)
def test_a_name_may_be_anything(tmp_path: Path, name: str) -> None:
    assert names(plant(tmp_path, name)) == [name]


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    plant(tmp_path, "videos/a.mp4", "other/b.mp4")
    (tmp_path / "videos" / "there").symlink_to(tmp_path / "other")
    (tmp_path / "other" / "back").symlink_to(tmp_path / "videos")
    (tmp_path / "other" / "round").symlink_to(tmp_path / "other")
    assert names(tmp_path / "videos") == ["a.mp4", "there/b.mp4"]


def test_what_is_no_file_is_a_failure_and_never_opened(tmp_path: Path) -> None:
    plant(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "broken.mp4").symlink_to("gone")
    found = find([tmp_path], "*")
    assert [file.name for file in found.files] == ["a.mp4"]
    told = {failure.file: failure.reason for failure in found.failures}
    assert told["pipe.mp4"] == "A video must be a file, but this is a pipe, socket or device."
    assert told["broken.mp4"].endswith("but this one is not: No such file or directory.")


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"folder or a file, but '.*gone' is not there"):
        find([tmp_path / "gone"], "*")


def test_a_folder_in_which_no_file_fits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"no file fits '\*' in '"):
        find([tmp_path], "*")
    plant(tmp_path, "a.mkv")
    with pytest.raises(Refusal, match=r"no file fits '\*\.mp4' in '.*another --pattern"):
        find([tmp_path], "*.mp4")


@pytest.mark.skipif(os.getuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, "a.mp4", "b/c.mp4")
    (tmp_path / "b").chmod(0)
    with pytest.raises(Refusal, match=r"must be readable, but '.*/b' is not \(Permission denied\)"):
        find([tmp_path], "*")
    (tmp_path / "b").chmod(0o700)
