"""Bars on a terminal, sparse lines elsewhere and in the logs of ranks; the items pass through unchanged."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch import progress
from launch.progress import keep_log, say, track
from launch.refusal import Refusal

LOOPS = """
from launch.progress import say, speak_any_encoding, track
speak_any_encoding()
for each in track(range(4), "rows of ten features [0] → matrix", unit="videos"):
    for inner in track(range(2), "looks", unit="batches"):
        pass
    say(f"said → {each}")
"""
"""A loop with another inside, and words among them."""


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    yield
    keep_log(None)


def test_items_pass_through_in_order_and_a_log_gets_count_rate_and_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    assert list(track(iter("abc"), "letters", total=3, unit="letters")) == ["a", "b", "c"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"letters: 2/3, [\d.,]+ letters/s, 0 s left", lines[1])
    assert re.fullmatch(r"letters: 3/3 done in 0 s, [\d.,]+ letters/s", lines[2])


def test_where_the_end_is_not_known_no_rest_is_claimed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    assert list(track(iter("ab"), "letters", unit="letters")) == ["a", "b"]
    assert re.fullmatch(r"letters: 1, [\d.,]+ letters/s", capsys.readouterr().out.splitlines()[0])


def test_a_quick_loop_says_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2, 3], "numbers")) == [1, 2, 3]
    assert capsys.readouterr().out == ""


def test_other_ranks_are_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    as_rank(1, monkeypatch)
    say("hello")
    assert list(track([1, 2], "numbers")) == [1, 2]
    assert capsys.readouterr().out == ""


def test_a_log_of_its_own_gives_another_rank_the_same_words_with_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    as_rank(1, monkeypatch)
    keep_log(tmp_path / "logs")
    say("hello →")
    assert list(track([1, 2], "numbers", unit="numbers")) == [1, 2]
    (log,) = (tmp_path / "logs").glob("*.rank1.log")
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"[\d.,]+ numbers/s", "N/s", line[20:]) for line in lines] == [
        "hello →",
        "numbers: 1/2, N/s, 0 s left",
        "numbers: 2/2 done in 0 s, N/s",
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)
    assert capsys.readouterr().out == ""


def test_a_folder_for_logs_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(Refusal, match=r"The folder for logs must be one to write to, but .*rank0\.log' cannot"):
        keep_log(tmp_path / "logs")


def test_a_full_disk_ends_the_log_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115  # the log is closed by whom it fails
    monkeypatch.setattr(progress, "_logs", [full])
    say("one")
    say("two")
    shown = capsys.readouterr()
    assert shown.out == "one\ntwo\n"
    assert shown.err == "The log '/dev/full' ends here: No space left on device.\n"


@pytest.mark.parametrize("columns", [80, 50])
def test_bars_fit_a_narrow_terminal_and_words_stand_on_lines_of_their_own(columns: int) -> None:
    shown = re.split(r"[\r\n]+", on_terminal(columns, "utf-8"))
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in shown]
    assert max(map(len, lines)) <= columns
    assert [line.rstrip() for line in lines if line.startswith("said")] == [f"said → {each}" for each in range(4)]
    bars = [line for line in lines if line.startswith("rows of ten")]
    assert bars, "the bar is shown"
    assert ("━ 4/4 " if columns == 80 else " 4/4 ") in bars[-1]
    assert re.search(r"[\d.,]+ videos/s, 0 s left$", bars[-1].rstrip())
    assert lines[-2] == bars[-1], "the bar of the loop inside is gone when that is done"


def test_a_terminal_without_unicode_is_shown_other_signs() -> None:
    shown = on_terminal(80, "ascii")
    assert "4/4" in shown
    assert "said ? 3" in shown
    assert "Traceback" not in shown


def on_terminal(columns: int, encoding: str) -> str:
    """What the loops print on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    environment |= {"PYTHONIOENCODING": encoding, "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", LOOPS], stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        os.close(ours)
        assert process.wait(timeout=60) == 0, shown.decode()
    return shown.decode()


def as_rank(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process a rank of two, as a launcher would."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", str(rank))
