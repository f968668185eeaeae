"""A video's group is the most frequent component that it shares with another video."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from graph.groups import group_of_videos

ids_of_videos = st.tuples(st.integers(1, 12), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 9))
)


def slowly(ids: np.ndarray) -> list[int]:
    """The same, one video after the other."""
    found = []
    for video, mine in enumerate(ids.tolist()):
        others = {each for other, row in enumerate(ids.tolist()) if other != video for each in row}
        shared = [(-count, each) for each, count in Counter(mine).items() if each in others]
        found.append(min(shared)[1] if shared else -1)
    return found


@given(ids_of_videos)
def test_groups_are_those_of_a_plain_loop(ids: np.ndarray) -> None:
    assert group_of_videos(ids).tolist() == slowly(ids)


def test_the_most_frequent_shared_component_wins_and_the_smallest_of_equals() -> None:
    ids = np.array([[5, 5, 5, 7, 7, 1, 2], [7, 1, 2, 2, 1, 3, 3], [4, 4, 4, 4, 4, 4, 4]])
    assert group_of_videos(ids).tolist() == [7, 1, -1]


def test_a_component_inside_one_video_is_shared_with_nobody() -> None:
    assert group_of_videos(np.array([[0, 0], [1, 1]])).tolist() == [-1, -1]
