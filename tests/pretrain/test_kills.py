"""A run that is killed while it trains, by whatever hand, ends like one that never was, bit for bit."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.pretrain.conftest import chosen
from tests.pretrain.kill_trial import KINDS, flat, started, trial, wait

DISTURBED = {"job": {"processes": 2, "threads": 1, "max_restarts": 3, "lost_after": 5}, "evaluate_every": 1000}


@pytest.mark.timeout(600)
def test_three_kills_leave_no_trace_in_the_encoder(planted, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, tmp_path / "runs", tmp_path) | DISTURBED
    settings = {name: value for name, value in given.items() if name not in ("out", "steps")}
    outcome = trial(settings, tmp_path, kills=3, seed=0)
    assert outcome.equal, outcome.said
    assert sorted(outcome.kills) == sorted(KINDS)
    assert (outcome.restarts, outcome.stops) == (2, 1)


def test_a_signal_to_every_process_of_a_run_stops_it_with_a_whole_step(planted, runs: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path / "out") | {"steps": 100_000, "evaluate_every": 100_000}
    given["batches"] |= {"workers": 1}
    with started(flat(given), "run", tmp_path) as (process, log):
        assert wait(lambda: process.poll() is not None or list((tmp_path / "out" / "checkpoints").glob("step-*")))
        (loader,) = [each.pid for each in psutil.Process(process.pid).children()]
        for pid in (loader, process.pid):
            os.kill(pid, signal.SIGTERM)
        assert process.wait(60) == os.EX_TEMPFAIL, log.read_text()
    assert "Stopped: after step" in log.read_text()
