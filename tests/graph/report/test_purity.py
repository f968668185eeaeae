import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.report.purity import purity

NAMES = ("dog", "cat", "car")


@given(st.integers(2, 6), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_purity_is_what_counting_every_pair_gives(videos: int, kinds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    ids = np.unique(random.integers(0, kinds, videos * 10), return_inverse=True)[1]
    labels = [frozenset(name for name in NAMES if random.random() < 0.4) for _ in range(videos)]
    found = purity(ids, labels, seed)  # more pairs are asked for than there are: all are looked at
    known = [bool(each) for each in labels]
    together = [
        bool(labels[one // 10] & labels[other // 10])
        for one in range(len(ids))
        for other in range(one)
        if ids[one] == ids[other] and one // 10 != other // 10 and known[one // 10] and known[other // 10]
    ]
    assert (found.labelled, found.unlabelled) == (sum(known), videos - sum(known))
    assert found.pairs == len(together)
    assert found.sharing == pytest.approx(np.mean(together) if together else 0)
    shares, sizes = [], []
    for component in range(ids.max() + 1):
        inside = [video for video in range(videos) if known[video] and component in ids[video * 10 : video * 10 + 10]]
        if len(inside) > 1:
            shares.append(max(sum(name in labels[video] for video in inside) for name in NAMES) / len(inside))
            sizes.append(
                sum(ids[snippet] == component for video in inside for snippet in range(video * 10, video * 10 + 10))
            )
    assert found.components == len(shares)
    assert found.mean == pytest.approx(np.mean(shares) if shares else 0)
    assert found.weighted == pytest.approx(np.average(shares, weights=sizes) if shares else 0)


def test_random_pairs_are_of_two_labelled_videos() -> None:
    labels = [frozenset({"dog"}), frozenset({"dog"}), frozenset({"cat"}), frozenset[str]()]
    found = purity(np.arange(40), labels, 0)
    assert found.random == pytest.approx(1 / 3, abs=0.02)
    assert (found.pairs, found.components) == (0, 0)


def test_videos_without_any_label_say_nothing() -> None:
    found = purity(np.zeros(20, np.int64), [frozenset(), frozenset()], 0)
    assert (found.labelled, found.unlabelled, found.pairs, found.sharing, found.mean) == (0, 2, 0, 0, 0)
