"""Stages that make shards, at work: as processes of their own that are to be killed, and what they have made so far."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

UNTRACKED = """
import importlib
import sys
from contextlib import nullcontext
from launch import tracking
from launch.refusal import Refusal
from launch.settings import load
stage = importlib.import_module(sys.argv[1])
tracking.run = lambda *_, **__: nullcontext(tracking.Record(None))
try:
    stage.main(load(stage.Config, [], sys.argv[2:], sys.argv[1]))
except Refusal as refusal:
    print(refusal, file=sys.stderr)
    sys.exit(2)
"""


def untracked(module: str) -> list[str]:
    """What Python is given to run a stage's module without MLflow, whose import takes seconds; its own words follow."""
    return ["-c", UNTRACKED, module]


def launched(program: Sequence[str], words: Sequence[str]) -> subprocess.Popen[str]:
    """A process that runs a program of Python with these words, its output kept."""
    command = [sys.executable, *program, *words]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a result by its path."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def notes(out: Path) -> list[Path]:
    """The notes of a stage at work, one a finished shard."""
    return sorted(out.parent.glob(f".{out.name}.part/*/notes/*.json"))


def await_notes(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Waits until a process has noted so many finished shards."""
    while len(notes(out)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
