"""Shard sets: there, missing, cut short; in a folder of sets each is told."""

from pathlib import Path

import numpy as np
import pytest

from launch.doctor.inputs import check
from shards.schema import Feature, Video
from shards.write import Writer


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A folder of two shard sets."""
    for name in ("train", "test"):
        with Writer(tmp_path / name, [Feature("vggish", 4)], {"stage": "test"}, 2) as writer:
            for number in range(3):
                writer.add(Video(f"video{number}_0_10", {"vggish": np.zeros((10, 4), np.float32)}))
    return tmp_path


def test_sets_are_told_by_their_manifests(sets: Path) -> None:
    found = {each.check: each for each in check(str(sets))}
    assert set(found) == {"shards test", "shards train"}
    assert all(each.state == "fine" and len(each.same) == 64 for each in found.values())
    assert found["shards train"].found.startswith(f"'train' in {sets}: 3 videos in 2 shards, manifest ")
    (one,) = check(str(sets / "train"))
    assert (one.check, one.same) == ("shards", found["shards train"].same)


def test_sets_that_are_not_there_are_a_fault(tmp_path: Path) -> None:
    (found,) = check(str(tmp_path / "none"))
    assert found.state == "failed"
    assert str(tmp_path / "none") in found.found


def test_a_shard_that_was_cut_is_a_fault_that_names_it(sets: Path) -> None:
    shard = sorted((sets / "train").glob("*.tar"))[1]
    shard.write_bytes(shard.read_bytes()[:-512])
    (found,) = check(str(sets))
    assert found.state == "failed"
    assert shard.name in found.found


def test_what_an_address_holds_is_not_shown() -> None:
    (found,) = check("https://user:word@no-such-host.invalid/set?sig=abc")
    assert found.state == "failed"
    assert "word" not in found.found
    assert "abc" not in found.found
