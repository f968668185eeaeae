"""A snippet is present where its video lasts and its file holds that modality."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from launch.refusal import Refusal
from shards.present import as_told, snippets_there, told_by
from shards.schema import PRESENT


@given(arrays(bool, (3, 10, 2)), st.lists(st.integers(1, 10), min_size=3, max_size=3))
def test_a_snippet_is_there_where_its_video_lasts_and_its_file_holds_it(stored: np.ndarray, lengths: list[int]) -> None:
    keys = [f"v_5_{5 + length}" for length in lengths]
    found = snippets_there(keys, as_told(stored.astype(np.float16), "here"))
    for modality in (0, 1):
        for video, length in enumerate(lengths):
            expected = [bool(stored[video, second, modality]) and second < length for second in range(10)]
            assert found[modality, video].tolist() == expected


def test_where_nobody_says_what_is_present_every_second_of_a_video_has_both() -> None:
    found = snippets_there(["short_0_7", "whole"])
    assert found.sum(axis=2).tolist() == [[7, 10], [7, 10]]
    assert snippets_there([]).shape == (2, 0, 10)


def test_it_is_read_where_a_set_holds_it() -> None:
    assert told_by(("vggish", PRESENT)) == (PRESENT,)
    assert told_by(("vggish",)) == ()


def test_a_feature_of_that_name_that_says_something_else_is_refused() -> None:
    with pytest.raises(Refusal, match="a number for each of audio, visual, but has 3 in 'here': extract it again"):
        as_told(np.ones((2, 10, 3), np.float16), "here")
