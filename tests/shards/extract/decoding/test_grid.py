"""At each time of the grid the frame is shown that began last; seconds without any are absent."""

from collections.abc import Iterator, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shards.extract.decoding.grid import covered, grid_of, shown, sources, there

FRAMES = st.lists(
    st.tuples(st.integers(-3000, 12_000), st.integers(1, 2000), st.booleans()),
    max_size=30,
    unique_by=lambda each: each[0],
)
"""Time and duration in milliseconds, and whether the frame is whole."""


def cells_of(frames: Sequence[tuple[float, float, object]], seconds: int, rate: int, length: float) -> list[object]:
    """The frame of each cell, None where nothing is shown."""
    cells: list[object] = [None] * (seconds * rate)
    for own, _, _, frame in shown(frames, grid_of(seconds, rate), length):
        for cell in own:
            cells[cell] = frame
    return cells


def test_the_grid_is_the_middle_of_its_cells() -> None:
    assert grid_of(1, 4).tolist() == [0.125, 0.375, 0.625, 0.875]
    assert len(grid_of(10, 8)) == 80


@given(FRAMES)
def test_each_time_shows_the_last_frame_that_began_before_it(frames: list[tuple[int, int, bool]]) -> None:
    ordered = [(time / 1000, span / 1000, time if whole else None) for time, span, whole in sorted(frames)]
    expected: list[object] = []
    for time in grid_of(10, 8) + 1e-6:
        begun = [each for each in ordered if each[2] is not None and each[0] <= time]
        if not begun:
            expected.append(None)
            continue
        held = begun[-1]
        followed = any(each[2] is not None and each[0] > time for each in ordered)
        lost = [each for each in ordered if each[2] is None and each[0] > held[0]]
        lasts = max(each[0] + each[1] for each in [held, *lost])
        expected.append(held[2] if followed or lasts > time else None)
    assert cells_of(ordered, 10, 8, 10) == expected


def test_a_frame_that_begins_at_a_time_of_the_grid_is_shown_at_it_whatever_the_rounding() -> None:
    sixteenths = [(number / 16 + 101.8 - 101.8, 1 / 16, number) for number in range(32)]
    assert cells_of(list(sixteenths), 2, 8, 2) == [2 * cell + 1 for cell in range(16)]


def test_a_frame_that_comes_before_its_predecessor_is_left_out() -> None:
    assert cells_of([(0, 0.5, "a"), (0.5, 0.5, "b"), (0.2, 0.5, "late")], 1, 4, 1) == ["a", "a", "b", "b"]


def test_no_more_frames_are_taken_than_needed() -> None:
    taken = []

    def frames() -> Iterator[tuple[float, float, int]]:
        for number in range(100):
            taken.append(number)
            yield number * 0.5, 0.5, number

    assert cells_of(frames(), 2, 2, 2) == [0, 1, 2, 3]
    assert taken == [0, 1, 2, 3, 4]


def test_a_short_frame_between_two_times_is_told_although_no_time_shows_it() -> None:
    got = list(shown([(0.01, 0.02, "flash")], grid_of(1, 8), 0.04))
    assert got == [([], 0.01, 0.03, "flash")]


@given(st.floats(-5, 15), st.floats(0, 15))
def test_the_seconds_of_a_cover_add_up_to_what_is_within(start: float, length: float) -> None:
    cover = covered(start, start + length, 10)
    assert np.isclose(cover.sum(), max(0, min(10, start + length) - max(0, start)), atol=1e-9)
    assert ((cover >= 0) & (cover <= 1)).all()


def test_a_second_is_there_when_more_than_a_sliver_of_it_is() -> None:
    assert there(np.array([1, 0.049, 0.05, 0]), 4).tolist() == [True, False, True, False]
    assert there(np.array([0.02]), 0.04).tolist() == [True]
    assert there(np.array([0.0]), 0.0).tolist() == [False]


def test_cells_without_a_frame_show_the_nearest_one_where_the_second_is_there() -> None:
    served = np.array([False, False, True, True, False, False, False, False])
    assert sources(served, np.array([True, False]), 4).tolist() == [2, 2, 2, 3, -1, -1, -1, -1]
    assert sources(served, np.array([True, True]), 4).tolist() == [2, 2, 2, 3, 3, 3, 3, 3]
    assert sources(np.zeros(4, bool), np.array([True]), 4).tolist() == [-1] * 4
