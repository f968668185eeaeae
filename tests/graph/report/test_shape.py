import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.report.shape import shape


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
