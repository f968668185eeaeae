"""A plan holds every clip once, in the order of files and time, whoever decodes it."""

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.refusal import Refusal
from shards.extract.clips import Cut, Parts, cut, read_segments
from shards.extract.making.files import VideoFile
from shards.extract.making.plan import Cutting, Examined, plan_of


def file(name: str, seconds: float = 10, stamp: tuple[int, int] = (1, 2)) -> Examined:
    return Examined(VideoFile(name, Path("/videos") / name, stamp), seconds)


def keys(files: list[Examined], cutting: Cutting = cut) -> list[str]:
    return [each.clip.key for each in plan_of(files, cutting, 4).clips]


@given(st.lists(st.floats(1, 100), min_size=1, max_size=12), st.integers(1, 9))
def test_shards_and_tasks_hold_every_clip_once_and_in_order(lengths: list[float], per_shard: int) -> None:
    plan = plan_of([file(f"{number:02d}.mp4", length) for number, length in enumerate(lengths)], cut, per_shard)
    shards = [plan.of_shard(number) for number in range(plan.shards)]
    assert [each for shard in shards for each in shard] == list(plan.clips)
    assert all(0 < len(shard) <= per_shard for shard in shards)
    assert {len(shard) for shard in shards[:-1]} <= {per_shard}
    tasks = list(plan.tasks(range(plan.shards)))
    assert [(task.shard, task.place) for task in tasks] == [divmod(number, per_shard) for number in range(len(tasks))]
    assert [(task.path, task.clip) for task in tasks] == [(each.of.file.path, each.clip) for each in plan.clips]
    assert list(plan.tasks([plan.shards - 1])) == [task for task in tasks if task.shard == plan.shards - 1]


def test_a_shards_digest_is_of_its_own_clips_and_the_state_of_their_files() -> None:
    def digests(*files: Examined) -> list[str]:
        plan = plan_of(files, cut, 1)
        return [plan.digest(number) for number in range(plan.shards)]

    before = digests(file("a.mp4"), file("b.mp4"))
    assert before[0] != before[1]
    assert digests(file("a.mp4"), file("c.mp4"))[0] == before[0]
    assert digests(file("a.mp4"), file("b.mp4", stamp=(1, 3)))[1] != before[1]
    assert digests(file("a.mp4"), file("b.mp4", seconds=9))[1] != before[1]


def test_two_files_of_one_stem_are_both_named() -> None:
    with pytest.raises(Refusal, match=r"'/videos/a\.mkv' and '/videos/deep/a\.mp4' share 'a'"):
        plan_of([file("a.mkv"), file("b.mp4"), file("deep/a.mp4")], cut, 4)


def test_two_files_that_would_share_a_key_are_both_named() -> None:
    with pytest.raises(Refusal, match=r"'/videos/x\.mp4' and '/videos/x_0_10\.mp4' both have 'x_0_10'"):
        plan_of([file("x.mp4"), file("x_0_10.mp4")], cut, 4)


@pytest.mark.parametrize("name", ["a\nb.mp4", "\udcff.mp4", "a\x1b[31m.mp4"])
def test_a_name_that_can_be_no_key_is_left_out_and_named(name: str) -> None:
    plan = plan_of([file(name), file("b.mp4")], cut, 4)
    assert [each.clip.key for each in plan.clips] == ["b_0_10"]
    assert [(fault.file, fault.second) for fault in plan.failures] == [(name, None)]
    assert "must be printable" in plan.failures[0].reason


def test_names_that_begin_with_a_dash_or_hold_any_letters_are_keys() -> None:
    assert keys([file("-x.mp4", 12), file("日本 %.y.mp4", 1.5)]) == ["-x_0_10", "-x_10_12", "日本 %.y_0_1.5"]


def listed(folder: Path, *lines: str) -> Parts:
    (folder / "segments.csv").write_text("# a comment\n" + "".join(f"{line}\n" for line in lines))
    return read_segments(folder / "segments.csv")


def test_parts_of_a_list_that_begin_after_the_files_end_are_failures(tmp_path: Path) -> None:
    parts = listed(tmp_path, 'a, 0, 10, "x"', 'a, 30, 40, "x"')
    plan = plan_of([file("a.mp4", 20)], parts.cut, 4)
    assert [each.clip.key for each in plan.clips] == ["a_0_10"]
    assert [(fault.file, fault.second) for fault in plan.failures] == [("a.mp4", 30)]
    assert "'a_30_40' does not, for the file has 20 s: give --trimmed True" in plan.failures[0].reason


def test_parts_of_a_list_that_reach_beyond_the_files_end_are_known(tmp_path: Path) -> None:
    parts = listed(tmp_path, 'a, 0, 10, "x"', 'a, 5, 15, "x"', 'a, 0, 9.5, "x"', 'b, 5, 15, "x"')
    plan = plan_of([file("a.mp4", 9.6), file("b.mp4", 20)], parts.cut, 4)
    assert [each.clip.key for each in plan.cut_short()] == ["a_5_15"]
    trimmed = plan_of([file("b.mp4", 9.6)], partial(parts.cut, trimmed=True), 4)
    assert trimmed.cut_short() == []


def test_parts_that_overlap_give_a_clip_once(tmp_path: Path) -> None:
    parts = listed(tmp_path, 'a, 0, 20, "x"', 'a, 10, 20, "x"')
    assert keys([file("a.mp4", 20)], parts.cut) == ["a_0_10", "a_10_20"]


def test_what_is_too_short_for_a_clip_is_added_up() -> None:
    assert plan_of([file("a.mp4", 10.3), file("b.mp4", 20.4)], cut, 4).dropped == pytest.approx(0.7)


def test_a_plan_of_nothing_has_no_shard() -> None:
    plan = plan_of([], lambda stem, seconds: Cut(()), 4)
    assert (plan.shards, list(plan.tasks(range(0)))) == (0, [])
