"""Bars on a terminal, sparse lines elsewhere, silence on ranks that do not lead; the items pass through unchanged."""

import io

import pytest
from rich.console import Console

from launch import progress
from launch.progress import say, track


def test_items_pass_through_in_order_and_a_log_gets_count_rate_and_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    assert list(track(iter("abc"), "letters", total=3, unit="letters")) == ["a", "b", "c"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("letters: 2/3, ")
    assert "letters/s" in lines[1]
    assert lines[1].endswith(" s left")


def test_a_quick_loop_says_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2, 3], "numbers")) == [1, 2, 3]
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda file: Console(file=shown, force_terminal=True, width=120))
    assert list(track([1, 2], "numbers", unit="numbers")) == [1, 2]
    assert "numbers" in shown.getvalue()
    assert "2/2" in shown.getvalue()


def test_other_ranks_are_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    say("hello")
    assert list(track([1, 2], "numbers")) == [1, 2]
    assert capsys.readouterr().out == ""
