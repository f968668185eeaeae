"""Disks, shared memory and open files: full, small, read-only, missing; on real mounts where root may make them."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch.doctor.finding import STATES
from launch.doctor.storage import check, disk, files, shared

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a small file system in memory; skipped where that is not allowed."""
    mounted = []

    def make(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        tried = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_with_room_is_fine_also_for_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    found = disk("disk of out", tmp_path / "a" / "b", little=1, enough=1)
    assert found.state == "fine"
    assert found.found.endswith(f"in {tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_a_small_disk_is_doubtful_and_a_full_one_a_fault(mount: Mount) -> None:
    small = mount("size=8m")
    assert disk("disk of out", small, little=2**20, enough=2**30).state == "doubtful"
    with pytest.raises(OSError, match="No space left"):
        (small / "file").write_bytes(b"x" * 9 * 2**20)
    full = disk("disk of out", small)
    assert full.state == "failed"
    assert full.found == f"0 MiB free of 8 MiB in {small}"
    assert full.remedy.startswith("make room")


def test_a_disk_without_room_for_files_is_a_fault(mount: Mount) -> None:
    folder = mount("size=64m,nr_inodes=1")
    found = disk("disk of out", folder, little=1, enough=1)
    assert (found.state, found.found) == ("failed", f"no file more can be made in {folder}")


def test_a_disk_that_is_read_only_is_a_fault(mount: Mount) -> None:
    folder = mount("size=64m,ro")
    found = disk("disk of out", folder, little=1, enough=1)
    assert (found.state, found.found) == ("failed", f"{folder} cannot be written to")


def test_docker_s_shared_memory_is_too_little(mount: Mount) -> None:
    found = shared(mount("size=64m"))
    assert (found.state, found.found) == ("failed", "64 MiB free of 64 MiB")
    assert "--shm-size=16g" in found.remedy
    assert shared(mount("size=512m")).state == "doubtful"


def test_a_machine_without_shared_memory_is_told(tmp_path: Path) -> None:
    found = shared(tmp_path / "none")
    assert (found.state, found.found) == ("failed", f"{tmp_path / 'none'} does not exist")


@pytest.mark.parametrize(("soft", "state"), [(400, "failed"), (1024, "doubtful"), (4096, "fine")])
def test_a_low_limit_of_open_files_is_told(soft: int, state: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < soft:
        pytest.skip(f"this process may not have {soft} files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        found = files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found.state == state
    assert found.found.startswith(f"{soft:,} a process")
    assert ("ulimit -n" in found.remedy) == (state != "fine")


def test_every_place_is_looked_at(tmp_path: Path) -> None:
    found = check({"out": tmp_path, "runs": tmp_path / "runs"})
    assert [each.check for each in found] == [
        "disk of out",
        "disk of runs",
        "disk of /tmp",
        "shared memory",
        "open files",
    ]
    assert all(each.state in STATES for each in found)
    assert os.listdir(tmp_path) == []
