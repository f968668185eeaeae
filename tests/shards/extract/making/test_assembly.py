"""Clips come back in any order, and few of them wait at a time; what is noted of a shard is what is found of it."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.atomic import Unfinished
from shards.extract.clips import cut
from shards.extract.making.assembly import Assembly, Encoded
from shards.extract.making.failures import Failure
from shards.extract.making.files import VideoFile
from shards.extract.making.plan import Examined, Plan, Task, plan_of
from shards.finished import Done
from shards.schema import PRESENT, Feature, Video

LOUD = Feature("loudness", 1)


def planned(files: int, per_shard: int) -> Plan:
    """Two clips a file."""
    chosen = [Examined(VideoFile(f"{number:03d}.mp4", Path("/gone"), (1, 1)), 20) for number in range(files)]
    return plan_of(chosen, cut, per_shard)


def unfinished(folder: Path) -> Unfinished:
    for name in ("result", "notes"):
        (folder / name).mkdir(exist_ok=True)
    return Unfinished(folder / "result", folder / "notes", folder / "run")


def outcome(task: Task, bad: bool = False) -> Encoded | Failure:
    if bad:
        return Failure(task.name, task.clip.start, "Damaged.")
    features = {"loudness": np.full((10, 1), task.clip.start), PRESENT: np.ones((10, 2))}
    return Encoded(Video(task.clip.key, features), (f"Seen at {task.clip.start:g}.",))


def make(assembly: Assembly, plan: Plan, decoders: int, seed: int) -> tuple[list[Done], int]:
    """Lets so many decoders finish in a drawn order; the shards, and the most clips that waited."""
    dice, tasks = random.Random(seed), plan.tasks(range(plan.shards))
    in_hand, done, waited, most = list[Task](), list[Done](), 0, 0
    for _ in range(decoders):
        in_hand += [task for task in [next(tasks, None)] if task]
    while in_hand:
        # the first is slow, as that of a long file
        task = in_hand.pop(dice.randrange(len(in_hand) > 1 and dice.random() < 0.95, len(in_hand)))
        in_hand += [task for task in [next(tasks, None)] if task]
        finished = assembly.take(task.shard, task.place, outcome(task, bad=task.place == 1))
        done += [finished] if finished else []
        waited += 1 - (len(plan.of_shard(task.shard)) if finished else 0)
        most = max(most, waited)
    assert waited == 0
    return done, most


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_every_shard_is_made_and_few_clips_wait_whatever_order_they_come_in(
    files: int, per_shard: int, decoders: int, seed: int
) -> None:
    plan = planned(files, per_shard)
    with TemporaryDirectory() as folder:
        done, most = make(Assembly(plan, [LOUD], unfinished(Path(folder)), "skip"), plan, decoders, seed)
    assert sorted(each.number for each in done) == list(range(plan.shards))
    assert most <= decoders * per_shard
    digests = {each.number: each.shard.sha256 for each in done if each.shard}
    with TemporaryDirectory() as folder:
        alone, _ = make(Assembly(plan, [LOUD], unfinished(Path(folder)), "skip"), plan, 1, 0)
    assert digests == {each.number: each.shard.sha256 for each in alone if each.shard}


def test_what_was_told_of_clips_is_found_by_a_later_start(tmp_path: Path) -> None:
    plan = planned(3, 4)
    make(Assembly(plan, [LOUD], unfinished(tmp_path), "skip"), plan, 2, 0)
    later = Assembly(plan, [LOUD], unfinished(tmp_path), "skip")
    assert all(later.found(number) for number in range(plan.shards))
    told = later.told()
    assert told.failures == [Failure(name, 10, "Damaged.") for name in ("000.mp4", "002.mp4")]
    assert told.notes == {
        "000_0_10": ["Seen at 0."],
        "001_0_10": ["Seen at 0."],
        "001_10_20": ["Seen at 10."],
        "002_0_10": ["Seen at 0."],
    }


@pytest.mark.parametrize("harm", ["gone", "damaged", "of others"])
def test_a_shard_of_which_nothing_is_told_is_made_again(tmp_path: Path, harm: str) -> None:
    plan = planned(3, 4)
    make(Assembly(plan, [LOUD], unfinished(tmp_path), "skip"), plan, 1, 0)
    note = tmp_path / "notes" / "000000.told"
    if harm == "gone":
        note.unlink()
    else:
        note.write_text("{" if harm == "damaged" else (tmp_path / "notes" / "000001.told").read_text())
    later = Assembly(plan, [LOUD], unfinished(tmp_path), "skip")
    assert later.found(0) is None
    assert later.found(1)


def test_a_shard_without_its_bad_clips_is_not_taken_over_where_they_shall_stop_all(tmp_path: Path) -> None:
    plan = planned(3, 4)
    make(Assembly(plan, [LOUD], unfinished(tmp_path), "skip"), plan, 1, 0)
    assert Assembly(plan, [LOUD], unfinished(tmp_path), "stop").found(0) is None
