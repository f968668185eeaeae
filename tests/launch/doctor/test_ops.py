"""Locks of DeepSpeed's compiler: torch's own, left by a process that was killed, held by one that is alive."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch.utils import file_baton
from torch.utils.cpp_extension import _get_build_directory
from torch.utils.file_baton import FileBaton

from launch.doctor import ops
from launch.doctor.ops import QUIET, check, extensions

BUILDER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from file_baton import FileBaton
assert FileBaton(sys.argv[1]).try_acquire()
print("building", flush=True)
time.sleep(300)
"""
"""Without torch around it, which takes seconds to be imported."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an operation."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    (tmp_path / "deepspeed_shm_comm").mkdir()
    return tmp_path / "deepspeed_shm_comm"


@contextmanager
def builder(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that builds an operation, as torch lets it."""
    command = [sys.executable, "-c", BUILDER, str(folder / "lock"), str(Path(file_baton.__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"building\n"
        yield process
        process.kill()


def left_alone(folder: Path, seconds: float = QUIET + 60) -> None:
    """Makes the folder look as if nothing had changed in it for so long."""
    past = time.time() - seconds
    for each in (*folder.iterdir(), folder):
        os.utime(each, (past, past))


@pytest.fixture
def killed(folder: Path) -> Path:
    """The folder of an operation whose builder was killed."""
    with builder(folder) as process:
        process.send_signal(signal.SIGKILL)
    assert (folder / "lock").exists()
    return folder


def test_a_killed_builder_s_lock_is_stale_and_can_be_cleared(killed: Path) -> None:
    left_alone(killed)
    (found,) = check()
    assert found.state == "failed"
    assert found.found == f"stale lock {killed / 'lock'}, quiet for 11 min: its builder was killed"
    assert "--clear_locks" in found.remedy
    (cleared,) = check(clear=True)
    assert cleared.state == "fine"
    assert cleared.found.startswith(f"removed the stale lock {killed / 'lock'}")
    assert FileBaton(str(killed / "lock")).try_acquire(), "the next start builds"


def test_a_lock_of_a_moment_ago_may_be_another_container_s_and_stays(killed: Path) -> None:
    (found,) = check(clear=True)
    assert found.state == "doubtful"
    assert "another host or container may be building: if none is, it counts as stale in 10 min" in found.remedy
    assert (killed / "lock").exists()


def test_a_lock_that_is_held_stays_however_old_it_is(folder: Path) -> None:
    with builder(folder) as process:
        left_alone(folder)
        (found,) = check(clear=True)
        assert found.state == "doubtful"
        assert found.found.startswith(f"process {process.pid} builds in {folder}")
    assert (folder / "lock").exists()


def test_a_file_that_was_just_written_speaks_for_a_builder(killed: Path) -> None:
    left_alone(killed)
    (killed / "op.o").write_bytes(b"")
    assert check(clear=True)[0].state == "doubtful"
    assert (killed / "lock").exists()


def test_where_other_hosts_may_build_a_lock_is_stale_much_later(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "_file_system", lambda path: "nfs4")
    left_alone(killed)
    assert check(clear=True)[0].state == "doubtful"
    left_alone(killed, ops.QUIET_FAR + 60)
    assert check(clear=True)[0].state == "fine"


def test_what_is_built_is_told(folder: Path) -> None:
    (folder / "deepspeed_shm_comm.so").write_bytes(b"")
    (found,) = check()
    assert (found.state, found.found) == ("fine", f"deepspeed_shm_comm in {folder.parent}, no lock")


def test_the_folder_is_torch_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert extensions() == Path(_get_build_directory("op", False)).parent
