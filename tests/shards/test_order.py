"""Who reads what when: theorems about pure arithmetic, without any file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.order import Order, part

orders = st.builds(
    Order,
    digest=st.sampled_from(["a", "b"]),
    videos=st.integers(1, 200),
    global_batch=st.integers(1, 64),
    seed=st.integers(0, 5),
)


@given(orders, st.integers(0, 3))
def test_every_video_comes_exactly_once_an_epoch(order: Order, epoch: int) -> None:
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    seen = np.concatenate([order.batch(step) for step in steps])
    assert sorted(seen) == list(range(order.videos))


@given(orders, st.integers(1, 9), st.integers(0, 20))
def test_the_ranks_parts_make_up_the_global_batch_in_order(order: Order, size: int, step: int) -> None:
    batch = order.batch(step)
    parts = [part(batch, rank, size) for rank in range(size)]
    assert np.array_equal(np.concatenate(parts), batch)
    lengths = {len(each) for each in parts}
    assert max(lengths) - min(lengths) <= 1


@given(orders)
def test_a_batch_depends_on_nothing_that_came_before(order: Order) -> None:
    step = 2 * order.steps_per_epoch + 1
    late = order.batch(step)
    for earlier in range(3):
        order.batch(earlier)
    assert np.array_equal(order.batch(step), late)


def test_epochs_seeds_and_shard_sets_differ() -> None:
    base = Order("digest", 1000, 1000, 0)
    others = [base.batch(1), Order("other", 1000, 1000, 0).batch(0), Order("digest", 1000, 1000, 1).batch(0)]
    assert all(not np.array_equal(base.batch(0), other) for other in others)


def test_the_order_is_the_same_on_every_machine() -> None:
    assert Order("digest", 10, 4, 7).batch(0).tolist() == [2, 8, 1, 9]


@pytest.mark.parametrize(("videos", "global_batch"), [(0, 4), (4, 0)])
def test_an_order_without_videos_or_batch_is_refused(videos: int, global_batch: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Order("digest", videos, global_batch, 0)
