"""A run that is killed while it trains, by whatever hand, ends like one that never was, bit for bit."""

from pathlib import Path

import pytest

from tests.pretrain.conftest import chosen
from tests.pretrain.kill_trial import KINDS, trial

DISTURBED = {"job": {"processes": 2, "threads": 1, "max_restarts": 3, "lost_after": 5}, "evaluate_every": 1000}


@pytest.mark.timeout(600)
def test_three_kills_leave_no_trace_in_the_encoder(planted, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, tmp_path / "runs", tmp_path) | DISTURBED
    settings = {name: value for name, value in given.items() if name not in ("out", "steps")}
    outcome = trial(settings, tmp_path, kills=3, seed=0)
    assert outcome.equal, outcome.said
    assert sorted(outcome.kills) == sorted(KINDS)
    assert (outcome.restarts, outcome.stops) == (2, 1)
