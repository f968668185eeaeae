"""Stages as processes: what they are called with, and how the ends of either side reach the other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import chain

STARTS_ONE = """
import sys
from launch import chain
chain.run(sys.argv[1], sys.argv[2:])
"""


def test_settings_become_words_of_a_command() -> None:
    assert chain.words(shards=Path("a b"), epochs=3) == ["--shards", "a b", "--epochs", "3"]


def test_a_failing_stage_ends_the_chain_with_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        chain.run("pack", chain.words(features=tmp_path / "none", out=tmp_path / "out"))
    assert leaving.value.code == 2
    assert f"$ python -m launch pack --features {tmp_path / 'none'}" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stage_is_asked_to_stop_when_the_chain_is(tmp_path: Path, number: signal.Signals) -> None:
    """The stage here is a stand-in for Python that notes the signal it gets, and then leaves."""
    stage = tmp_path / "python"
    stage.write_text("#!/bin/sh\ntrap 'touch asked; exit 75' TERM\ntouch started\nwhile :; do sleep 0.05; done\n")
    stage.chmod(0o755)
    program = f"import sys\nsys.executable = {str(stage)!r}\n{STARTS_ONE}"
    process = subprocess.Popen([sys.executable, "-c", program, "finetune"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, number)
    assert process.wait(30) != 0
    assert (tmp_path / "asked").exists()


def stand_in(folder: Path, script: str) -> Path:
    """A stage in place of Python."""
    stage = folder / "python"
    stage.write_text(f"#!/bin/sh\n{script}\n")
    stage.chmod(0o755)
    return stage


@pytest.mark.parametrize(("script", "code"), [("exit 1", 1), ("exit 2", 2), ("exit 75", 75), ("kill -9 $$", 137)])
def test_a_stage_that_failed_is_told_from_one_that_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: int
) -> None:
    monkeypatch.setattr(sys, "executable", str(stand_in(tmp_path, script)))
    with pytest.raises(SystemExit) as leaving:
        chain.run("finetune", [])
    assert leaving.value.code == code
    assert isinstance(leaving.value, chain.Failed) == (code in (1, 2))


def test_a_stage_that_does_not_stop_in_time_is_killed_and_the_chain_still_ends_as_it_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stand_in(tmp_path, "trap '' TERM\necho $$ > started\nwhile :; do sleep 0.05; done")
    program = f"import sys\nsys.executable = {str(stage)!r}\n{STARTS_ONE}".replace(
        "chain.run", "chain.PATIENCE = 0.2\nchain.run"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "finetune"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    started, deadline = tmp_path / "started", time.monotonic() + 60
    while not (started.exists() and started.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert said.strip().endswith("KeyboardInterrupt")
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
