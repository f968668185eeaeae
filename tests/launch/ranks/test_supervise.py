"""What a command makes of the ends of its ranks; the launcher is a script of the tests' own."""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from launch.preemption import listening
from launch.ranks.roster import opened
from launch.ranks.supervise import End, Ranks

NOTED = """
import json, os, sys
for rank, code, sentence in {ends}:
    text = json.dumps(dict(rank=rank, pid=100 + rank, code=code, sentence=sentence))
    open(os.path.join({folder!r}, str(rank) + '.json'), 'w').write(text)
"""


def end_of(ends: Mapping[int, tuple[int | None, str]], then: str, stops: bool = True) -> End:
    """How two ranks ended that noted these codes and sentences, under a launcher that then does something."""
    with opened() as roster, Ranks(stops) as ranks:
        noted = NOTED.format(ends=[(rank, *end) for rank, end in ends.items()], folder=roster.board.address)
        return ranks.run([sys.executable, "-c", noted + then], os.environ, roster, 2)


@pytest.mark.parametrize(
    ("codes", "launcher", "code"),
    [((0, 0), 0, 0), ((2, None), 1, 2), ((2, 1), 1, 2), ((75, 75), 75, 75), ((75, None), 1, 75), ((130, None), 1, 130)],
)
def test_an_end_counts_as_what_the_ranks_say(codes: tuple[int | None, ...], launcher: int, code: int) -> None:
    ends = {rank: (each, "") for rank, each in enumerate(codes)}
    assert end_of(ends, f"sys.exit({launcher})") == End(code)


def test_a_launcher_that_is_content_while_a_rank_never_ended_is_a_death() -> None:
    assert end_of({0: (0, ""), 1: (None, "")}, "sys.exit(0)") == End(
        1, "Rank 1 (pid 101) died without a word (exit code 0)."
    )
    assert end_of({}, "sys.exit(0)") == End(1, "A rank died without a word (exit code 0).")


def test_the_sentence_of_a_rank_that_knows_is_that_of_the_death() -> None:
    found = end_of({0: (1, "Rank 1 is gone."), 1: (None, "")}, "sys.exit(247)")
    assert found == End(247, "Rank 1 is gone.")


def test_a_stop_that_not_all_have_reached_is_a_death() -> None:
    assert end_of({0: (75, ""), 1: (1, "Broken.")}, "sys.exit(1)") == End(1, "Broken.")


def test_a_second_sigterm_to_a_rank_that_can_stop_is_an_end_but_for_others_sigterm_follows_from_a_death() -> None:
    ends = {0: (1, "Rank 1 is gone."), 1: (143, "")}
    assert end_of(ends, "sys.exit(143)") == End(143)
    assert end_of(ends, "sys.exit(1)", stops=False) == End(1, "Rank 1 is gone.")


def test_a_death_names_the_signal() -> None:
    assert end_of({1: (None, "")}, "sys.exit(247)").death == "Rank 1 (pid 101) died without a word (SIGKILL)."
    assert end_of({1: (None, "")}, "os.kill(os.getpid(), 9)") == End(
        137, "Rank 1 (pid 101) died without a word (SIGKILL)."
    )


def test_nothing_is_left_of_a_launcher_that_left_others_behind(tmp_path: Path) -> None:
    left = tmp_path / "pid"
    then = (
        f"import subprocess; open({str(left)!r}, 'w').write(str(subprocess.Popen(['sleep', '100']).pid)); sys.exit(0)"
    )
    end_of({0: (0, ""), 1: (0, "")}, then)
    stat = Path(f"/proc/{left.read_text()}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


STOPPED = f"""
import json, os, sys, time
while not os.path.exists(os.path.join(sys.argv[1], 'stop')):
    time.sleep(0.02)
for rank in range(2):
    text = json.dumps(dict(rank=rank, pid=100 + rank, code=75, sentence=''))
    open(os.path.join(sys.argv[1], str(rank) + '.json'), 'w').write(text)
sys.exit({os.EX_TEMPFAIL})
"""
"""A launcher whose two ranks stop as they are asked to."""


@pytest.mark.parametrize(("stops", "code"), [(True, 75), (False, 128 + signal.SIGTERM)])
def test_sigterm_asks_ranks_that_can_stop_and_ends_others(stops: bool, code: int) -> None:
    with opened() as roster, Ranks(stops) as ranks:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert ranks.run([sys.executable, "-c", STOPPED, roster.board.address], os.environ, roster, 2) == End(code)


def test_a_request_from_before_there_were_ranks_is_passed_on_to_them() -> None:
    with listening():
        os.kill(os.getpid(), signal.SIGUSR1)
        with opened() as roster, Ranks(stops=True) as ranks:
            found = ranks.run([sys.executable, "-c", STOPPED, roster.board.address], os.environ, roster, 2)
    assert (found, ranks.asked) == (End(os.EX_TEMPFAIL), True)


def test_a_second_signal_ends_ranks_that_do_not_stop() -> None:
    began = time.monotonic()
    with opened() as roster, Ranks(stops=True) as ranks:
        for after in (0.3, 0.6):
            threading.Timer(after, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert ranks.run(["sleep", "100"], os.environ, roster, 2) == End(128 + signal.SIGKILL)
    assert time.monotonic() - began < 50


def test_signals_are_this_process_s_own_again_afterwards() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    end_of({}, "")
    assert {number: signal.getsignal(number) for number in before} == before
