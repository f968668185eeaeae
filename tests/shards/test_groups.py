"""Videos of a group sit together in a global batch, as far as the sizes of batches allow."""

import struct
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.refusal import Refusal
from shards.groups import Groups
from shards.order import Order

Window = list[list[int]]
"""The group ids of a window's videos in the order they are read, cut at the borders of global batches."""


@st.composite
def orders(draw: Callable) -> Order:
    """Orders whose windows begin anywhere in a batch, with little and with much fill."""
    counts = tuple(draw(st.lists(st.integers(1, 30), min_size=1, max_size=6)))
    per_group, videos = draw(st.integers(2, 6)), sum(counts)
    fill = [-1] * draw(st.integers(0, 6))
    drawn = st.sampled_from([*range(8), *fill])
    ids = draw(st.lists(drawn, min_size=videos, max_size=videos))
    global_batch = draw(st.integers(per_group, 24))
    groups = Groups.of(np.array(ids, dtype=np.int64), per_group)
    return Order("digest", counts, global_batch, draw(st.integers(0, 9)), draw(st.integers(1, 4)), groups)


def windows(order: Order, steps: int) -> list[Window]:
    assert order.groups
    pieces = [piece for step in range(steps) for piece in order.pieces(step)]
    return [
        [order.groups.ids[piece.places].tolist() for piece in of_window]
        for _, of_window in groupby(pieces, key=lambda piece: piece.window)
    ]


def split(window: Window, per_group: int) -> list[tuple[int, int]]:
    """(border, group) wherever the videos of a group on one side are no number of whole bundles.

    A group of n videos is n // K bundles of K and one of what is left, in any order.
    """
    total = Counter(chain(*window))
    return [
        (border, group)
        for border in range(1, len(window))
        for group, count in Counter(chain(*window[:border])).items()
        if group >= 0 and count % per_group not in {0, total[group] % per_group}
    ]


def left_alone(window: Window, border: int, group: int, per_group: int) -> list[int]:
    """The fill that is read after a border, but for what may be of the group that is split there."""
    later = Counter(chain(*window[border:]))
    total = Counter(chain(*window))
    lone = [g for g, n in later.items() if g not in (-1, group) and n % per_group == total[g] % per_group == 1]
    return lone + [-1] * later[-1]


@given(orders())
def test_a_bundle_is_split_only_where_no_fill_is_left(order: Order) -> None:
    assert order.groups
    per_group = order.groups.per_group
    for window in windows(order, 2 * order.steps_per_epoch):
        for border, group in split(window, per_group):
            assert not left_alone(window, border, group, per_group)


@given(orders())
def test_at_most_one_group_is_split_at_a_border(order: Order) -> None:
    assert order.groups
    for window in windows(order, 2 * order.steps_per_epoch):
        found = Counter(border for border, _ in split(window, order.groups.per_group))
        assert set(found.values()) <= {1}


def together(order: Order, ids: np.ndarray) -> float:
    """The share of grouped videos that meet another of their group in their global batch."""
    batches = [ids[order.batch(step)].tolist() for step in range(order.steps_per_epoch)]
    met = sum(n for batch in batches for group, n in Counter(batch).items() if group >= 0 and n > 1)
    return met / int((ids >= 0).sum())


def test_with_enough_fill_all_videos_of_a_group_meet_and_none_is_split() -> None:
    counts = (130, 70, 200, 20, 180)
    ids = np.full(600, -1, dtype=np.int64)
    ids[np.random.default_rng(0).permutation(600)[:300]] = np.arange(300) // 4  # 75 groups of four
    for seed in range(5):
        grouped = Order("digest", counts, 32, seed, window=5, groups=Groups.of(ids, 4))
        assert split(windows(grouped, grouped.steps_per_epoch)[0], 4) == []
        assert together(grouped, ids) == 1
        assert together(Order("digest", counts, 32, seed, window=5), ids) < 0.25


def test_bundles_and_fill_are_mixed_over_the_window() -> None:
    ids = np.where(np.arange(1000) % 2, np.arange(1000) // 8, -1)
    order = Order("digest", (250,) * 4, 100, 1, window=4, groups=Groups.of(ids, 4))
    shares = [float((ids[order.batch(step)] >= 0).mean()) for step in range(10)]
    assert max(shares) < 0.75
    assert min(shares) > 0.25


def test_the_bundles_of_a_large_group_are_drawn_anew_each_epoch() -> None:
    ids = np.zeros(64, dtype=np.int64)
    order = Order("digest", (64,), 4, 0, groups=Groups.of(ids, 4))
    batches = [frozenset(order.batch(step).tolist()) for step in range(32)]
    assert len(set(batches)) == 32


def test_some_of_the_videos_keep_their_groups_and_the_digest_of_the_whole() -> None:
    whole = Groups.of(np.array([3, -1, 5, 3], dtype=np.int64), 2)
    some = whole.only(np.array([0, 3]))
    assert (some.ids.tolist(), some.per_group, some.digest) == ([3, 3], 2, whole.digest)


def test_the_digest_is_of_the_ids_alone() -> None:
    ids = np.array([3, -1, 5], dtype=np.int64)
    expected = sha256(struct.pack("<qqq", 3, -1, 5)).hexdigest()
    assert Groups.of(ids, 2).digest == Groups.of(ids.astype(">i8"), 3).digest == expected
    assert Groups.of(np.array([3, -1, 6], dtype=np.int64), 2).digest != expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (np.zeros(5, dtype=np.int32), r"int64 of shape \(5,\).*holds int32 of shape \(5,\): build the graph"),
        (np.zeros(4, dtype=np.int64), r"holds int64 of shape \(4,\)"),
        (np.zeros((5, 1), dtype=np.int64), r"holds int64 of shape \(5, 1\)"),
        (np.array([0, 1, -2, 0, 0], dtype=np.int64), r"0 or more, or -1 for none, but .* holds -2 for video 2"),
        (np.array([None] * 5, dtype=object), r"array in a \.npy file, but .*groups\.npy' is not"),
        (b"PK\x03\x04 no array", r"array in a \.npy file, but"),
        (b"", r"array in a \.npy file, but"),
        (None, r"array in a \.npy file, but .*No such file"),
    ],
)
def test_a_file_that_holds_no_groups_is_refused(
    content: np.ndarray | bytes | None, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "groups.npy"
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(Refusal, match=sentence):
        Groups.read(path, 5, 2)


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups.npy"
    np.save(path, np.zeros(5, dtype=np.int64))
    path.write_bytes(path.read_bytes().replace(b"(5,), }" + 12 * b" ", b"(9000000000000,), }"))
    with pytest.raises(Refusal, match=r"array in a \.npy file, but"):
        Groups.read(path, 9_000_000_000_000, 2)


def test_a_file_of_groups_is_read_as_it_was_saved(tmp_path: Path) -> None:
    ids = np.array([4, -1, 4, 0, 2], dtype=np.int64)
    np.save(tmp_path / "groups.npy", ids)
    read = Groups.read(tmp_path / "groups.npy", 5, 3)
    assert (read.ids.tolist(), read.per_group, read.digest) == (ids.tolist(), 3, Groups.of(ids, 3).digest)
