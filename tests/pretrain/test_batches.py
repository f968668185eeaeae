"""Every rank reads its part of the same global batches, wherever the run stands."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from graph.components import Components
from graph.seal import seal
from launch.refusal import Refusal
from launch.world import World
from pretrain.batches import Batches, BatchSettings, read_groups
from shards.read import Shards
from shards.schema import PRESENT, Feature, Video, seconds_of
from shards.write import Writer
from tests.pretrain.conftest import VIDEOS, write_graph

NAMES = ("vggish", "resnet152", "r2plus1d_18")
SETTINGS = BatchSettings(global_batch=10, held_out=8)


def batches(planted, rank: int = 0, size: int = 1, seed: int = 0, settings: BatchSettings = SETTINGS) -> Batches:  # type: ignore[no-untyped-def]
    shards, components = planted.open()
    groups = read_groups(planted.components, shards, settings.per_group)
    return Batches(settings, shards, components, groups, NAMES, World(rank, size, rank, torch.device("cpu"), seed))


def changed(**values: int) -> BatchSettings:
    return BatchSettings(**SETTINGS.model_dump() | values)


def test_the_parts_of_all_ranks_make_the_global_batch_of_one(planted) -> None:  # type: ignore[no-untyped-def]
    for size in (2, 3, 16):
        whole = [batch for _, batch in batches(planted).from_step(0, 8)]
        parts = [[batch for _, batch in batches(planted, rank, size).from_step(0, 8)] for rank in range(size)]
        for step, expected in enumerate(whole):
            of_ranks = [part[step] for part in parts]
            assert sum((part.keys for part in of_ranks), ()) == expected.keys
            assert {part.videos for part in of_ranks} == {len(expected.keys)}
            assert torch.equal(torch.cat([part.ids for part in of_ranks]), expected.ids)
            for name in NAMES:
                assert torch.equal(torch.cat([part.features[name] for part in of_ranks]), expected.features[name])


@pytest.mark.parametrize("length", [None, 1, 2, 3, 100])
def test_micro_batches_are_as_many_on_every_rank_and_make_its_batch_in_order(planted, length: int | None) -> None:  # type: ignore[no-untyped-def]
    for size in (1, 2, 3, 16):
        for step in range(6):
            counts = set()
            for rank in range(size):
                ((_, batch),) = batches(planted, rank, size).from_step(step, step + 1)
                micro = batch.micro_batches(length, size)
                counts.add(len(micro))
                whole = torch.cat([each.features["vggish"] for each in micro])
                assert torch.equal(whole, batch.features["vggish"])
                for each in micro:
                    assert len(each.features["vggish"]) <= (length or VIDEOS)
                    expected = batch.features["vggish"][each.first - batch.first :][: len(each.features["vggish"])]
                    assert torch.equal(each.features["vggish"], expected)
            assert len(counts) == 1


def test_which_seconds_exist_is_known_where_any_video_of_the_set_is_short(tmp_path: Path) -> None:
    keys = [f"video{number:02d}_0_{10 if number % 5 else 4}" for number in range(20)]
    with Writer(tmp_path / "shards", [Feature("sound", 2)], {}, 7) as writer:
        for key in keys:
            writer.add(Video(key, {"sound": np.zeros((10, 2))}))
    shards = Shards.open(tmp_path / "shards")
    write_graph(tmp_path / "graph", np.zeros((20, 10, 1), np.int64), shards.keys, shards.manifest.digest)
    components, settings = Components.load(tmp_path / "graph", shards), changed(global_batch=3, held_out=4)
    for rank in range(2):
        world = World(rank, 2, rank, torch.device("cpu"), 0)
        read = Batches(settings, shards, components, None, ["sound"], world)
        for batch in (read.held_out, *(batch for _, batch in read.from_step(0, 5))):
            assert batch.present is not None
            assert batch.present.sum(2).tolist() == [2 * [seconds_of(key)] for key in batch.keys]
            micro = [each.present for each in batch.micro_batches(1, 2)]
            assert torch.equal(torch.cat([each for each in micro if each is not None]), batch.present[: len(micro)])


def write_present(folder: Path, number: int) -> tuple[Shards, Components]:
    """Videos whose sound is missing in as many of their first seconds as their number says, and their components."""
    with Writer(folder / "shards", [Feature("sound", 2), Feature(PRESENT, 2)], {}, 7) as writer:
        for video in range(number):
            present = np.ones((10, 2))
            present[: video % 11, 0] = 0
            writer.add(Video(f"v{video:02d}_0_{4 if video == 3 else 10}", {"sound": present, PRESENT: present}))
    shards = Shards.open(folder / "shards")
    write_graph(folder / "graph", np.zeros((number, 10, 1), np.int64), shards.keys, shards.manifest.digest)
    return shards, Components.load(folder / "graph", shards)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_set_says_is_present_comes_with_every_batch_and_is_no_feature(tmp_path: Path, workers: int) -> None:
    shards, components = write_present(tmp_path, 20)
    settings = changed(global_batch=3, held_out=4, workers=workers)
    read = Batches(settings, shards, components, None, ["sound"], World(0, 1, 0, torch.device("cpu"), 0))
    assert read.widths() == {"sound": 2}
    for batch in (read.held_out, *(batch for _, batch in read.from_step(0, 4))):
        assert list(batch.features) == ["sound"]
        assert batch.present is not None
        for key, present, sound in zip(batch.keys, batch.present, batch.features["sound"], strict=True):
            exists = torch.arange(10) < seconds_of(key)
            assert torch.equal(present, (sound.T > 0) & exists)
            assert int((~present[0] & exists).sum()) == min(int(key[1:3]) % 11, seconds_of(key))


def test_where_every_video_has_ten_seconds_no_batch_has_a_mask(planted) -> None:  # type: ignore[no-untyped-def]
    read = batches(planted)
    assert read.held_out.present is None
    ((_, batch),) = read.from_step(0, 1)
    assert batch.present is None
    assert {each.present for each in batch.micro_batches(3, 1)} == {None}


def test_a_batch_knows_its_epoch(planted) -> None:  # type: ignore[no-untyped-def]
    read = batches(planted)
    assert [batch.epoch for _, batch in read.from_step(4, 13)] == [0, 0, *(6 * [1]), 2]


def test_a_batch_knows_where_in_the_global_batch_it_begins(planted) -> None:  # type: ignore[no-untyped-def]
    ((_, whole),) = batches(planted).from_step(2, 3)
    for rank in range(3):
        ((_, batch),) = batches(planted, rank, 3).from_step(2, 3)
        assert whole.keys[batch.first : batch.first + len(batch.keys)] == batch.keys


def test_an_epoch_holds_every_video_that_is_not_held_out_exactly_once(planted) -> None:  # type: ignore[no-untyped-def]
    read = batches(planted)
    held = read.held_out.keys
    assert len(held) == 8
    for epoch in (0, 1):
        steps = read.order.steps_per_epoch
        keys = [key for _, batch in read.from_step(epoch * steps, (epoch + 1) * steps) for key in batch.keys]
        assert sorted([*keys, *held]) == sorted(planted.open()[0].keys)


def test_from_any_step_on_the_batches_are_those_of_a_run_that_never_stopped(planted) -> None:  # type: ignore[no-untyped-def]
    never_stopped = list(batches(planted).from_step(0, 12))
    for step, batch in batches(planted).from_step(7, 12):
        assert batch.keys == never_stopped[step][1].keys


def test_another_seed_gives_another_order_but_holds_out_the_same(planted) -> None:  # type: ignore[no-untyped-def]
    one, other = batches(planted), batches(planted, seed=1)
    assert one.order.batch(0).tolist() != other.order.batch(0).tolist()
    assert one.held_out.keys == other.held_out.keys


def test_a_snippet_keeps_its_own_component_and_features(planted) -> None:  # type: ignore[no-untyped-def]
    shards, components = planted.open()
    for _, batch in batches(planted, rank=1, size=2).from_step(0, 3):
        for place, key in enumerate(batch.keys):
            index = shards.keys.index(key)
            assert batch.ids[place].tolist() == components.ids[index].tolist()
            expected = torch.from_numpy(shards.read(index).features["vggish"].copy())
            assert torch.equal(batch.features["vggish"][place], expected)


def test_a_snippet_keeps_both_its_components(two_ways) -> None:  # type: ignore[no-untyped-def]
    shards, components = two_ways.open()
    for _, batch in batches(two_ways, rank=1, size=2).from_step(0, 3):
        expected = components.ids[[shards.keys.index(key) for key in batch.keys]]
        assert batch.ids.shape == (len(batch.keys), 10, 2)
        assert torch.equal(batch.ids, torch.from_numpy(expected))


def test_no_more_than_a_fifth_is_held_out(planted) -> None:  # type: ignore[no-untyped-def]
    read = batches(planted, settings=changed(held_out=1000))
    assert (len(read.held_out.keys), read.order.videos) == (12, 49)
    assert batches(planted, settings=changed(held_out=0)).held_out.ids.shape == (0, 10, 1)


def test_a_feature_that_the_shards_lack_is_refused_by_name(planted) -> None:  # type: ignore[no-untyped-def]
    shards, components = planted.open()
    world = World(0, 1, 0, torch.device("cpu"), 0)
    with pytest.raises(Refusal, match="'clip' is not in"):
        Batches(SETTINGS, shards, components, None, ("clip",), world)


def test_widths_come_from_the_manifest(planted) -> None:  # type: ignore[no-untyped-def]
    assert batches(planted).widths() == {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}


def test_loader_processes_read_what_a_rank_reads_by_itself(planted) -> None:  # type: ignore[no-untyped-def]
    alone = [batch for _, batch in batches(planted, 1, 3).from_step(0, 8)]
    helped = [batch for _, batch in batches(planted, 1, 3, settings=changed(workers=2)).from_step(0, 8)]
    for one, other in zip(alone, helped, strict=True):
        assert (one.keys, one.videos) == (other.keys, other.videos)
        assert torch.equal(one.ids, other.ids)
        assert all(torch.equal(one.features[name], other.features[name]) for name in NAMES)


def test_a_window_limits_which_shards_a_step_reads(planted) -> None:  # type: ignore[no-untyped-def]
    read = batches(planted, settings=changed(window=1, global_batch=5, held_out=1))
    shards = planted.open()[0]
    of_key = dict(zip(shards.keys, shards.shard_of.tolist(), strict=True))
    touched = [{of_key[key] for key in batch.keys} for _, batch in read.from_step(0, read.order.steps_per_epoch)]
    assert sum(len(each) > 1 for each in touched) <= 2  # three shards of 25, 25 and 11 videos meet twice
    assert set().union(*touched) == {0, 1, 2}


def test_videos_of_a_component_are_kept_together_and_held_out_ones_apart(planted) -> None:  # type: ignore[no-untyped-def]
    shards = planted.open()[0]
    groups = read_groups(planted.components, shards, per_group=5)
    assert groups is not None
    group_of = dict(zip(shards.keys, groups.ids.tolist(), strict=True))

    def most(read: Batches) -> float:
        """How many videos of a batch share a group with another on average: sum of squares of the groups' sizes."""
        sizes = [Counter(group_of[key] for key in batch.keys) for _, batch in read.from_step(0, 10)]
        return sum(n * n for each in sizes for n in each.values()) / sum(n for each in sizes for n in each.values())

    kept, plain = batches(planted, settings=changed(per_group=5)), batches(planted)
    assert most(kept) > 1.5 * most(plain)
    epoch = [key for _, batch in kept.from_step(0, kept.order.steps_per_epoch) for key in batch.keys]
    assert sorted([*epoch, *plain.held_out.keys]) == sorted(shards.keys)


def test_a_graph_without_groups_is_refused_only_where_they_are_asked_for(planted, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shards, components = planted.open()
    components.save(tmp_path)
    seal(tmp_path, {"manifest": shards.manifest.digest})
    assert read_groups(tmp_path, shards, per_group=1) is None
    with pytest.raises(Refusal, match=r"checksum of 'groups\.npy'"):
        read_groups(tmp_path, shards, per_group=2)


def test_more_videos_of_a_group_than_a_step_has_are_refused() -> None:
    with pytest.raises(Refusal, match="per_group must be at most global_batch, but 11 > 10"):
        changed(per_group=11)
