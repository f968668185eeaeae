import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.report.shape import reach, shape


@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=100)
def test_the_shape_is_what_counting_every_pair_gives(videos: int, kinds: int, seed: int) -> None:
    ids = np.unique(np.random.default_rng(seed).integers(0, kinds, videos * 10), return_inverse=True)[1]
    video = np.arange(len(ids)) // 10
    same, apart = ids[:, None] == ids, video[:, None] != video
    sizes = sorted(np.bincount(ids).tolist(), reverse=True)
    found = shape(ids)
    assert found.components == len(sizes)
    assert found.singletons == sizes.count(1)
    assert found.largest_share == sizes[0] / len(ids)
    assert found.second_share == (sizes[1] / len(ids) if len(sizes) > 1 else 0)
    chained = [size for kind, size in enumerate(np.bincount(ids)) if len(set(video[ids == kind])) > 1]
    assert found.chained_share == max(chained, default=0) / len(ids)
    assert found.linked_share == pytest.approx((same & apart).any(axis=1).mean())
    assert found.positive_chance == pytest.approx((same & apart).sum() / apart.sum())
    adjacent = [ids[snippet] == ids[snippet + 1] for snippet in range(len(ids) - 1) if snippet % 10 != 9]
    assert found.adjacent_recall == pytest.approx(np.mean(adjacent))


def test_one_video_has_no_pair_of_two() -> None:
    found = shape(np.zeros(10, np.int64))
    assert (found.positive_chance, found.linked_share, found.chained_share) == (0, 0, 0)
    assert (found.largest_share, found.adjacent_recall) == (1, 1)


@given(st.integers(2, 5), st.integers(1, 20), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_two_ways_reach_what_either_does(videos: int, kinds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    ids = np.stack([np.unique(random.integers(0, kinds, videos * 10), return_inverse=True)[1] for _ in "av"], axis=1)
    video = np.arange(len(ids)) // 10
    same, apart = (ids[:, None] == ids).any(axis=2), video[:, None] != video
    found = reach(ids)
    assert found.linked_share == pytest.approx((same & apart).any(axis=1).mean())
    assert found.positive_chance == pytest.approx((same & apart).sum() / apart.sum())
    assert found.adjacent_recall == pytest.approx(np.mean([same[n, n + 1] for n in range(len(ids)) if n % 10 != 9]))
    one = reach(ids[:, :1])
    assert (one.linked_share, one.positive_chance) == (shape(ids[:, 0]).linked_share, shape(ids[:, 0]).positive_chance)
