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


def test_a_stage_is_asked_to_stop_when_the_chain_is_interrupted(tmp_path: Path) -> None:
    """The stage here is a stand-in for Python that notes the signal it gets, and then leaves."""
    stage = tmp_path / "python"
    stage.write_text("#!/bin/sh\ntrap 'touch asked; exit 75' TERM\ntouch started\nwhile :; do sleep 0.05; done\n")
    stage.chmod(0o755)
    program = f"import sys\nsys.executable = {str(stage)!r}\n{STARTS_ONE}"
    process = subprocess.Popen([sys.executable, "-c", program, "finetune"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) != 0
    assert (tmp_path / "asked").exists()
