"""The pace of work: the first item and a slower past do not spoil it; times in words."""

import pytest

from launch.pace import WINDOW, Pace, duration


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def paced(seconds: list[float]) -> Pace:
    """The pace after items that took so long each."""
    clock = Clock()
    pace = Pace(clock)
    for done, each in enumerate(seconds, start=1):
        clock.now += each
        pace.reached(done)
    return pace


def test_a_slow_first_item_is_no_part_of_the_pace_of_the_others() -> None:
    pace = paced([300.0, *[2.0] * 10])
    assert pace.each == pytest.approx(2.0)
    assert pace.left(11 + 30) == "1 min 00 s"
    assert pace.elapsed == pytest.approx(320.0)


def test_the_first_item_alone_is_all_there_is_to_go_by() -> None:
    assert paced([30.0]).left(3) == "1 min 00 s"


def test_before_the_first_item_nothing_is_claimed() -> None:
    pace = Pace(Clock())
    assert (pace.each, pace.rate("videos"), pace.left(9)) == (None, "", "")


def test_the_first_half_does_not_count_for_the_second() -> None:
    assert paced([*[9.0] * 32, *[1.0] * 33]).each == pytest.approx(1.0)


def test_after_a_while_a_long_run_that_became_slower_says_so() -> None:
    slower = [1.0] * round(2 * WINDOW / 1.0)
    assert paced([*[0.01] * 100_000, *slower]).each == pytest.approx(1.0, rel=0.05)


def test_something_now_and_then_between_items_is_averaged() -> None:
    pace = paced([1.0, *[*[1.0] * 9, 11.0] * 40])
    assert pace.each == pytest.approx(2.0, rel=0.1)


def test_what_takes_long_is_told_by_its_time_and_what_does_not_by_its_rate() -> None:
    assert paced([1.0, 0.08, 0.08]).rate("videos") == "12.5 videos/s"
    assert paced([1.0, 0.0005]).rate("") == "2,000.0/s"
    assert paced([1.0, 3.25, 3.25]).rate("steps") == "3.2 s each"
    assert paced([1.0, 90.0]).rate("steps") == "1 min 30 s each"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (24 * 3600 - 1, "1 d 0 h"),
        (4.25 * 86400, "4 d 6 h"),
    ],
)
def test_times_in_words_round_to_two_parts(seconds: float, words: str) -> None:
    assert duration(seconds) == words
