"""A video's group is the most frequent component that it shares with another video; components of two ways differ."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from graph.groups import group_of_videos

ids_of_videos = st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(1, 2)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 9))
)


def slowly(ids: np.ndarray) -> list[int]:
    """The same, one video after the other: components are (way, number), and a number alone counts on from way 0."""
    after_first = int(ids[..., 0].max(initial=-1)) + 1
    videos = [[(way, each) for row in video for way, each in enumerate(row)] for video in ids.tolist()]
    found = []
    for video, mine in enumerate(videos):
        others = {each for other, row in enumerate(videos) if other != video for each in row}
        shared = [(-count, each) for each, count in Counter(mine).items() if each in others]
        way, number = min(shared)[1] if shared else (0, -1)
        found.append(number + way * after_first)
    return found


@given(ids_of_videos)
def test_groups_are_those_of_a_plain_loop(ids: np.ndarray) -> None:
    assert group_of_videos(ids).tolist() == slowly(ids)


def test_the_most_frequent_shared_component_wins_and_the_smallest_of_equals() -> None:
    ids = np.array([[5, 5, 5, 7, 7, 1, 2], [7, 1, 2, 2, 1, 3, 3], [4, 4, 4, 4, 4, 4, 4]])
    assert group_of_videos(ids[..., None]).tolist() == [7, 1, -1]


def test_an_audio_and_a_visual_component_of_the_same_number_are_not_the_same() -> None:
    ids = np.array([[[0, 1], [0, 1]], [[1, 0], [1, 0]]])
    assert group_of_videos(ids).tolist() == [-1, -1]
    assert group_of_videos(ids[..., :1]).tolist() == group_of_videos(ids[..., 1:]).tolist() == [-1, -1]


def test_a_shared_visual_component_makes_a_group_where_no_audio_component_is_shared() -> None:
    ids = np.array([[[0, 0], [0, 1]], [[1, 1], [1, 1]], [[2, 2], [2, 2]]])
    assert group_of_videos(ids).tolist() == [4, 4, -1]


def test_a_component_inside_one_video_is_shared_with_nobody() -> None:
    assert group_of_videos(np.array([[0, 0], [1, 1]])[..., None]).tolist() == [-1, -1]
