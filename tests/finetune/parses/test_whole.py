"""Clips become a file: an event that goes on over a border is one, and times are those of the file."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from finetune.parses.events import LANES, Event
from finetune.parses.whole import ParsedClip, Whole, stitched


def clip(start: float, end: float, events: list[tuple[str, str, int, int, float]], **more: Any) -> ParsedClip:
    names = ("category", "modality", "onset", "offset", "confidence")
    parse = {"seconds": round(end - start + 0.49), "events": [dict(zip(names, each, strict=True)) for each in events]}
    return ParsedClip(f"x_{start:g}_{end:g}", start, end, parse | {"probabilities": {}} | more)


def whole(*clips: ParsedClip) -> Whole:
    return Whole("x", "x.mp4", clips[-1].end, clips)


def test_an_event_over_a_border_is_one_with_the_mean_over_its_seconds() -> None:
    found = whole(
        clip(0, 10, [("Dog", "audio", 8, 10, 0.9), ("Dog", "visual", 9, 10, 0.7), ("Dog", "audio", 1, 2, 0.6)]),
        clip(10, 20, [("Dog", "audio", 0, 10, 0.6), ("Cat", "visual", 0, 3, 0.8)]),
        clip(20, 22.4, [("Dog", "audio", 0, 3, 0.5), ("Cat", "visual", 1, 3, 0.8)]),
    )
    assert found.events == (
        Event("Dog", "audio", 1, 2, 0.6),
        Event("Dog", "audio", 8, 22.4, round((2 * 0.9 + 10 * 0.6 + 2.4 * 0.5) / 14.4, 4)),
        Event("Dog", "visual", 9, 10, 0.7),
        Event("Cat", "visual", 10, 13, 0.8),
        Event("Cat", "visual", 21, 22.4, 0.8),
    )


def test_clips_that_do_not_touch_keep_their_events_apart() -> None:
    found = whole(clip(0, 10, [("Dog", "audio", 8, 10, 0.9)]), clip(12.5, 22.5, [("Dog", "audio", 0, 1, 0.8)]))
    assert [(event.onset, event.offset) for event in found.events] == [(8, 10), (12.5, 13.5)]


def test_clips_that_overlap_say_a_thing_once() -> None:
    found = whole(clip(0, 10, [("Dog", "audio", 4, 10, 0.9)]), clip(5, 15, [("Dog", "audio", 0, 7, 0.5)]))
    assert [(event.onset, event.offset) for event in found.events] == [(4, 12)]


def test_what_is_absent_is_told_in_seconds_of_the_file_and_joined() -> None:
    all_ten, none = list(range(10)), {"seconds": 3}
    found = whole(
        clip(0, 10, [], absent={"audio": all_ten, "visual": [2, 3, 7]}),
        clip(10, 12.4, [], absent={"audio": [0, 1, 2]}, **none),
    )
    assert found.absent == {"audio": ((0, 12.4),), "visual": ((2, 4), (7, 8))}
    assert found.silent == ("audio",)
    assert whole(clip(0, 10, [])).absent == {}


def test_what_is_absent_ends_with_the_file_also_where_a_part_of_a_list_goes_on_beyond_it() -> None:
    part = clip(20, 25, [], absent={"audio": [4, 5, 6, 7, 8, 9], "visual": [5, 6, 7, 8, 9]}, seconds=10)
    found = Whole("x", "x", 25, (clip(0, 20, []), part))
    assert found.absent == {"audio": ((24, 25),)}
    assert found.silent == ()
    assert whole(clip(0, 10, [])).silent == ()


def test_what_was_not_parsed_is_told() -> None:
    some = Whole("x", "x.mp4", 60.3, (clip(5, 15, []), clip(15, 25, []), clip(24, 30, []), clip(50, 60, [])))
    assert some.gaps == ((0, 5), (30, 50))  # a tail of 0.3 seconds makes no clip
    assert some.content()["not_parsed"] == [[0, 5], [30, 50]]
    assert whole(clip(0, 10, []), clip(10, 12.4, [])).gaps == ()


def test_a_lane_is_blank_where_nothing_of_it_can_be_known() -> None:
    some = Whole("x", "x", 30, (clip(0, 10, [], absent={"audio": [3, 4]}), clip(20, 30, [], absent={"visual": [0]})))
    assert some.blank == {
        "audio": ((3, 5), (10, 20)),
        "visual": ((10, 21),),
        "audio_visual": ((3, 5), (10, 21)),
    }


def test_truth_is_that_of_the_clips_of_which_it_is_known() -> None:
    first, second = clip(0, 10, []), clip(10, 20, [])
    assert whole(first, second).truth is None
    known = ParsedClip(second.key, 10, 20, second.parse, (Event("Dog", "audio", 2, 5, 1.0),))
    assert whole(first, known).truth == (Event("Dog", "audio", 12, 15, 1.0),)
    assert "truth" not in whole(first, second).content()
    assert len(whole(first, known).content()["truth"]) == 1


SECONDS = st.lists(st.booleans(), min_size=1, max_size=35)


@given(SECONDS)
def test_cutting_into_clips_and_stitching_gives_the_runs_of_the_whole(happens: list[bool]) -> None:
    pieces = [happens[first : first + 10] for first in range(0, len(happens), 10)]
    clips = [
        clip(10 * k, 10 * k + len(one), [("Dog", "audio", *run, 0.5) for run in runs(one)])
        for k, one in enumerate(pieces)
    ]
    assert [(event.onset, event.offset) for event in whole(*clips).events] == runs(happens)


def runs(happens: list[bool]) -> list[tuple[int, int]]:
    changes = zip([False, *happens], [*happens, False], strict=True)
    edges = [second for second, (before, after) in enumerate(changes) if before != after]
    return list(zip(edges[::2], edges[1::2], strict=True))


EVENTS = st.lists(
    st.builds(
        lambda lane, onset, length, sure: Event("Dog", lane, onset, onset + length, sure),
        st.sampled_from(LANES), st.integers(0, 30), st.integers(1, 9), st.floats(0, 1),
    )
)  # fmt: skip


@given(EVENTS)
def test_stitching_covers_the_same_seconds_and_nothing_touches_afterwards(events: list[Event]) -> None:
    found = stitched(events)
    assert stitched(found) == found
    for lane in LANES:
        before = {s for e in events if e.modality == lane for s in range(int(e.onset), int(e.offset))}
        after = [s for e in found if e.modality == lane for s in range(int(e.onset), int(e.offset))]
        assert sorted(after) == sorted(before)
        assert all(0 <= event.confidence <= 1 for event in found)
