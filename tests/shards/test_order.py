"""Who reads what when: theorems about pure arithmetic, without any file."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.groups import Groups
from shards.order import Order

SHARDS = (7, 3, 0, 11, 5, 1, 9, 0, 4)
"""Unequal, and some without a video that is trained on."""


@st.composite
def orders(draw: Callable) -> Order:
    """Orders of sets of unequal, also empty shards, plain and grouped, with windows beyond the set and short epochs."""
    counts = tuple(draw(st.lists(st.integers(0, 20), min_size=1, max_size=12).filter(any)))
    global_batch = draw(st.integers(1, 64))
    groups = None
    if draw(st.booleans()):
        ids = draw(st.lists(st.integers(-1, 8), min_size=sum(counts), max_size=sum(counts)))
        groups = Groups.of(np.array(ids, dtype=np.int64), draw(st.integers(1, min(global_batch, 6))))
    window = draw(st.sampled_from([1, 2, 3, 5, 100]))
    return Order(draw(st.sampled_from("ab")), counts, global_batch, draw(st.integers(0, 5)), window, groups)


def epoch_of(order: Order, number: int) -> list[int]:
    steps = range(number * order.steps_per_epoch, (number + 1) * order.steps_per_epoch)
    return np.concatenate([order.batch(step) for step in steps]).tolist()


@given(orders(), st.integers(0, 3))
def test_every_video_comes_exactly_once_an_epoch(order: Order, epoch: int) -> None:
    assert sorted(epoch_of(order, epoch)) == list(range(sum(order.counts)))


@given(orders(), st.integers(0, 3))
def test_only_the_last_batch_of_an_epoch_is_short(order: Order, epoch: int) -> None:
    first = epoch * order.steps_per_epoch
    lengths = [len(order.batch(first + step)) for step in range(order.steps_per_epoch)]
    assert set(lengths[:-1]) <= {order.global_batch}
    assert 0 < lengths[-1] <= order.global_batch
    assert lengths == [order.length(first + step) for step in range(order.steps_per_epoch)]


@given(orders(), st.integers(1, 99), st.integers(0, 20))
def test_the_ranks_pieces_make_up_the_global_batch_in_order(order: Order, size: int, step: int) -> None:
    pieces = [[piece.places.tolist() for piece in order.pieces(step, rank, size)] for rank in range(size)]
    assert all(all(mine) for mine in pieces)
    parts = [list(chain(*mine)) for mine in pieces]
    assert list(chain(*parts)) == order.batch(step).tolist()
    lengths = {len(each) for each in parts}
    assert max(lengths) - min(lengths) <= 1


@given(orders())
def test_a_batch_depends_on_nothing_that_came_before(order: Order) -> None:
    step = 2 * order.steps_per_epoch + 1
    late = order.batch(step)
    fresh = replace(order)  # nothing of the other's is kept for it
    for earlier in range(3):
        fresh.batch(earlier)
    assert np.array_equal(fresh.batch(step), late)


@given(orders(), st.integers(0, 2))
def test_a_piece_touches_only_the_shards_of_its_window(order: Order, epoch: int) -> None:
    shard_of = np.repeat(np.arange(len(order.counts)), order.counts)
    for step in range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch):
        for piece in order.pieces(step):
            assert set(shard_of[piece.places]) <= set(order.shards(piece.window))


@given(orders(), st.integers(0, 2))
def test_windows_partition_the_shards_that_hold_videos(order: Order, epoch: int) -> None:
    first = epoch * order.windows_per_epoch
    windows = [order.shards(first + number) for number in range(order.windows_per_epoch)]
    assert sorted(sum(windows, ())) == [number for number, count in enumerate(order.counts) if count]
    assert all(len(each) == order.window for each in windows[:-1])
    assert 0 < len(windows[-1]) <= order.window


@given(orders())
def test_windows_come_one_after_the_other_and_batches_may_span_them(order: Order) -> None:
    seen = [piece.window for step in range(2 * order.steps_per_epoch) for piece in order.pieces(step)]
    assert all(next_one - one in (0, 1) for one, next_one in pairwise(seen))
    assert (seen[0], seen[-1]) == (0, 2 * order.windows_per_epoch - 1)
    assert all(order.window_at(step) == order.pieces(step)[0].window for step in range(order.steps_per_epoch))


def test_a_window_mixes_its_shards_and_an_epoch_its_windows() -> None:
    order = Order("digest", (50,) * 8, 100, 0, window=4)
    shard_of = np.repeat(np.arange(8), 50)
    assert all(len(set(shard_of[order.batch(step)])) == 4 for step in range(8))
    assert len({order.shards(number) for number in range(20)}) > 10


def test_ranks_beyond_the_videos_of_a_batch_read_nothing() -> None:
    order = Order("digest", (3,), 64, 0)
    assert [len(order.pieces(0, rank, 8)) for rank in range(8)].count(0) == 5


def test_a_plain_order_does_not_know_how_its_epochs_are_cut_into_batches() -> None:
    sequences = [epoch_of(Order("digest", SHARDS, size, 3, window=3), 1) for size in (1, 7, 16, 1000)]
    assert all(sequence == sequences[0] for sequence in sequences)


IDS = np.arange(40, dtype=np.int64) % 11 - 1
BASE = Order("digest", SHARDS, 10, 3, window=3, groups=Groups.of(IDS, 2))


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, digest="other"),
        replace(BASE, seed=4),
        replace(BASE, window=4),
        replace(BASE, global_batch=11),
        replace(BASE, groups=None),
        replace(BASE, groups=Groups.of(IDS, 3)),
        replace(BASE, groups=Groups(IDS, 2, "another array's digest")),
    ],
)
def test_everything_in_its_identity_changes_the_order(other: Order) -> None:
    assert epoch_of(other, 0) != epoch_of(BASE, 0)
    assert epoch_of(replace(BASE), 0) == epoch_of(BASE, 0)


def test_epochs_differ() -> None:
    assert epoch_of(BASE, 0) != epoch_of(BASE, 1)


def test_groups_of_one_are_the_plain_order() -> None:
    plain = replace(BASE, groups=None)
    assert epoch_of(replace(BASE, groups=Groups.of(IDS, 1)), 2) == epoch_of(plain, 2)


def test_the_order_is_the_same_on_every_machine() -> None:
    assert replace(BASE, groups=None).batch(5).tolist() == [20, 21, 13, 9, 17, 10, 22, 16, 24, 4]
    assert BASE.batch(5).tolist() == [27, 16, 14, 20, 31, 29, 18, 10, 32, 12]


@pytest.mark.parametrize(("counts", "global_batch", "window"), [((0, 0), 4, 1), ((4,), 0, 1), ((4,), 4, 0)])
def test_an_order_without_videos_batch_or_window_is_refused(
    counts: tuple[int, ...], global_batch: int, window: int
) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Order("digest", counts, global_batch, 0, window)


@pytest.mark.parametrize(("count", "per_group", "sentence"), [(3, 2, "one group a video"), (4, 5, "cannot keep 5")])
def test_groups_that_do_not_fit_are_refused(count: int, per_group: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Order("digest", (4,), 4, 0, groups=Groups.of(np.zeros(count, np.int64), per_group))


def test_two_million_videos_cost_a_step_no_more_than_its_window() -> None:
    order = Order("digest", (1000,) * 2000, 4096, 0)
    every, window = 8 * order.videos, 8 * 1000 * order.window  # bytes of the places of all, and of one window
    tracemalloc.start()
    try:
        order.batch(123_456)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert window < peak < every / 4
