"""A board that a command serves to ranks of other hosts: real processes, here over this machine's loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from launch.ranks import board
from launch.ranks.board import Far, Served, served
from launch.ranks.roster import ADDRESS, Roster

RANK = """
import os, sys, time
from launch.ranks import board
from launch.ranks.roster import Roster
board.LAST = 1
roster = Roster.of_environment()
roster.join()
roster.note_run("sqlite:////a b", "c0ffee")
print("joined", flush=True)
while not roster.asked_to_stop() and not roster.abandoned():
    time.sleep(0.05)
print("abandoned" if roster.abandoned() else "asked", flush=True)
if "stay" in sys.argv:
    time.sleep(100)
roster.leave(75, "Stopped.")
"""
COMMAND = """
import sys
from launch.ranks.board import served
with served("127.0.0.1", 1) as board:
    print(board.address, flush=True)
    sys.stdin.read()
"""


@contextmanager
def rank(address: str, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Rank 0 of a command whose board is there, once it has joined."""
    variables = os.environ | {"RANK": "0", ADDRESS: address}
    command = [sys.executable, "-c", RANK, *words]
    with subprocess.Popen(command, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "joined\n"
            yield process
        finally:
            process.kill()


def test_a_command_knows_of_its_far_ranks_and_they_hear_that_they_shall_stop() -> None:
    with served("127.0.0.1", 2) as notes:
        roster = Roster(notes)
        assert roster.entries() == []
        assert roster.run() is None
        with rank(notes.address) as process:
            (entry,) = roster.entries()
            assert (entry.rank, entry.pid, entry.code) == (0, process.pid, None)
            assert roster.run() == ("sqlite:////a b", "c0ffee")
            roster.ask_to_stop()
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "asked\n", ""), "and torch does not abort at the end"
        (entry,) = roster.entries()
        assert (entry.code, entry.sentence) == (75, "Stopped.")


def test_ranks_of_a_command_that_was_killed_find_out_and_end_even_if_nothing_else_ends_them() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as c:
        assert c.stdout is not None
        with rank(c.stdout.readline().strip(), "stay") as process:
            c.kill()
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "abandoned\n")
    assert err == "Failed: The command that started the ranks is gone.\n"


def test_a_command_that_does_not_answer_any_more_counts_as_gone_and_a_note_to_it_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(board, "SILENCE", 1.0)
    monkeypatch.setattr(board, "BOUND", 0.5)
    monkeypatch.setattr(board, "LAST", 1000.0)
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as c:
        assert c.stdout is not None
        far = Far(c.stdout.readline().strip())
        assert not far.gone()
        c.send_signal(signal.SIGSTOP)
        far.write("0.json", json.dumps({}))
        end = time.monotonic() + 30
        while not far.gone():
            assert time.monotonic() < end
            time.sleep(0.05)
        c.kill()
    far.leave()


def test_a_rank_whose_command_does_not_answer_says_where_it_looked() -> None:
    gone = Served("127.0.0.1", 1)
    address = gone.address
    gone.leave()
    with pytest.raises(ChildProcessError, match=rf"must reach the command that started it, but at {address} nobody"):
        Far(address)
