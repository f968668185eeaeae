"""After kill -9 of readers, other readers, of another number, go on with the same global batches, bit for bit."""

from pathlib import Path

import pytest

from shards.read import Shards
from tests.shards.kill_trial import trial, uninterrupted, write_corpus


@pytest.mark.parametrize(("seed", "grouped"), [(0, False), (4, False), (5, True)])
def test_others_go_on_where_killed_readers_were(seed: int, grouped: bool, tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "set", (40, 7, 61, 1, 25, 33, 12, 50, 9, 44, 30, 2))
    groups = folder.with_suffix(".npy") if grouped else None
    expected = uninterrupted(Shards.open(folder), groups)
    outcome = trial(str(folder), groups, tmp_path / "trial", seed, expected)
    assert outcome.equal, outcome
    assert outcome.orphans == 0, outcome
    assert outcome.step > 0, outcome
    assert outcome.left > 0, outcome
