"""The command itself, killed and then asked to stop, ends at last as one that never was, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import ROOT

LIMIT = 120.0
"""Seconds that anything here may take, on a machine with much else to do."""


@contextmanager
def started(corpus: Any, out: str) -> Iterator["subprocess.Popen[str]"]:
    """`python -m launch finetune` on the tiny corpus; nothing of it is left at the end."""
    given = {"shards": corpus.shards, "tables": corpus.tables, "out": corpus.work / out, "parser.width": 16}
    given |= {"parser.hidden": 16, "parser.audio": "sound", "training.batch": 8, "training.epochs": 30}
    given |= {"tracking.root": corpus.tracking.root, "tracking.experiment": corpus.tracking.experiment}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "launch", "finetune", *words, "--parser.visual", "frames", "motion"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def done(corpus: Any) -> int:
    """The steps of the state that is saved, 0 where there is none."""
    states = list(corpus.work.glob(".disturbed.part/*/notes/state.json"))
    return json.loads(states[0].read_text())["numbers"]["step"] if states else 0


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.timeout(600)
def test_a_kill_and_a_request_to_stop_leave_no_trace_in_the_parser(corpus: Any) -> None:
    with started(corpus, "whole") as whole:
        with started(corpus, "disturbed") as killed:
            wait(lambda: done(corpus) > 0 or killed.poll() is not None)
            killed.kill()
            assert killed.wait(LIMIT) == -signal.SIGKILL
        first = done(corpus)
        with started(corpus, "disturbed") as asked:
            wait(lambda: done(corpus) > first or asked.poll() is not None)
            asked.send_signal(signal.SIGTERM)
            said, _ = asked.communicate(timeout=LIMIT)
            assert asked.returncode == os.EX_TEMPFAIL, said
            assert f"Going on after step {first:,} of 90" in said
            assert f"Stopped: after step {done(corpus):,} of 90" in said
        with started(corpus, "disturbed") as last:
            said, _ = last.communicate(timeout=LIMIT)
            assert last.returncode == 0, said
        assert whole.wait(LIMIT) == 0
    for name in ("parser.safetensors", "scores.json"):
        one, two = ((corpus.work / out / name).read_bytes() for out in ("whole", "disturbed"))
        assert one == two
    assert not list(corpus.work.glob(".*"))
    assert [run.info.status for run in corpus.runs()[1]] == ["FINISHED", "FINISHED"]
