"""A lock is held by one process at a time, and as long as any process lives that was given it."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from launch.lock import held


def test_a_second_holder_gets_nothing_where_it_does_not_wait(tmp_path: Path) -> None:
    with held(tmp_path / "new" / "lock", "it") as first, held(tmp_path / "new" / "lock", "it", wait=False) as second:
        assert (first is None, second is None) == (False, True)
    with held(tmp_path / "new" / "lock", "it", wait=False) as third:
        assert third is not None


def test_one_that_waits_says_so_and_comes_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = list[str]()

    def wait() -> None:
        with held(tmp_path / "lock", "the embeddings"):
            order.append("second")

    with held(tmp_path / "lock", "the embeddings"):
        other = threading.Thread(target=wait)
        other.start()
        while "Another process is at work on the embeddings: waiting" not in capsys.readouterr().out:
            other.join(0.01)
        order.append("first")
    other.join(30)
    assert order == ["first", "second"]


def test_a_process_that_was_given_the_lock_keeps_it_after_its_command(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "input()"]
    with held(tmp_path / "lock", "it") as lock:
        assert lock is not None
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(lock,))
    with process, held(tmp_path / "lock", "it", wait=False) as second:
        assert second is None
        process.communicate(b"\n")
    with held(tmp_path / "lock", "it", wait=False) as third:
        assert third is not None
