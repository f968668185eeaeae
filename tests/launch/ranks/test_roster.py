"""What a command and its ranks know of one another."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from launch.ranks.board import Folder
from launch.ranks.roster import ADDRESS, Entry, Roster, opened


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Roster:
    """This process as rank 1 of a command."""
    monkeypatch.setenv(ADDRESS, str(tmp_path))
    monkeypatch.setenv("RANK", "1")
    found = Roster.of_environment()
    assert found is not None
    return found


def test_a_process_that_no_command_started_has_no_roster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Roster.of_environment() is None
    monkeypatch.setenv(ADDRESS, str(tmp_path))
    assert Roster.of_environment() is None, "a variable alone, as in a shell that a rank has opened, makes no rank"


def test_a_rank_has_no_code_until_it_ends_by_itself(as_rank: Roster) -> None:
    as_rank.join()
    assert as_rank.entries() == [Entry(1, os.getpid(), host=socket.gethostname())]
    as_rank.leave(2, "It must not.")
    assert as_rank.entries() == [Entry(1, os.getpid(), 2, "It must not.", socket.gethostname())]


def test_all_ranks_hear_that_they_shall_stop() -> None:
    with opened() as roster:
        assert not Roster(Folder(Path(roster.board.address))).asked_to_stop()
        roster.ask_to_stop()
        assert Roster(Folder(Path(roster.board.address))).asked_to_stop()


def test_the_mlflow_run_is_known_to_the_command(as_rank: Roster) -> None:
    assert as_rank.run() is None
    as_rank.note_run("sqlite:////with space/mlflow.db", "c0ffee")
    assert as_rank.run() == ("sqlite:////with space/mlflow.db", "c0ffee")


def test_a_roster_is_abandoned_when_its_command_is_gone_even_if_it_was_killed() -> None:
    with opened() as roster:
        assert not roster.abandoned()
    assert roster.abandoned()
    code = "from launch.ranks.roster import opened\nwith opened() as o:\n print(o.board.address, flush=True)\n input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        left = Roster(Folder(Path(other.stdout.readline().strip())))
        assert not left.abandoned()
        other.kill()
        other.wait()
    assert left.abandoned()


def test_a_roster_is_private() -> None:
    with opened() as roster:
        assert Path(roster.board.address).stat().st_mode & 0o077 == 0
