"""The scores: perfect, empty and malformed parses, every rule on small ones, and a plain slow definition."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from finetune.scoring.metrics import (
    EXCLUSIVE,
    KINDS,
    LEVELS,
    category_scores,
    event_counts,
    events,
    exclusive_scores,
    f_score,
    runs,
    scores,
    segment_counts,
)
from launch.refusal import Refusal


def parse(*videos: tuple[str, ...] | str) -> np.ndarray:
    """Parses from pictures: one string a category, `X` where it is positive."""
    return np.array([[[s == "X" for s in row] for row in ([v] if isinstance(v, str) else v)] for v in videos])


def rounded(found: dict[str, float]) -> tuple[float, ...]:
    return tuple(round(found[kind], 2) for kind in KINDS)


# Perfect, empty, malformed -------------------------------------------------------------------------------------


def test_a_perfect_parse_scores_one_hundred_in_all_ten() -> None:
    audio, visual = parse(("XX..", "...X"), ("....", ".XX.")), parse((".XX.", "...."), ("....", ".X.."))
    assert all(value == 100 for kinds in scores(audio, visual, audio, visual).values() for value in kinds.values())
    only = exclusive_scores(audio, visual, audio, visual)
    assert {level: list(kinds) for level, kinds in only.items()} == {level: list(EXCLUSIVE) for level in LEVELS}
    assert all(value == 100 for kinds in only.values() for value in kinds.values())
    assert category_scores(audio, audio) == [100, 100]


def test_a_video_without_any_category_counts_as_one() -> None:
    nothing = parse(("....", "...."))
    assert rounded(scores(nothing, nothing, nothing, nothing)["segment"]) == (100, 100, 100, 100, 100)
    one = parse("....", "XX..")
    assert scores(np.zeros_like(one), one, one, one)["segment"]["audio"] == 50
    assert set(exclusive_scores(nothing, nothing, nothing, nothing)["event"].values()) == {100}
    assert exclusive_scores(nothing[:, :1], nothing[:, :1], one[1:], one[:1])["segment"] == {
        "audible_only": 0,
        "visible_only": 100,
    }
    assert category_scores(nothing, nothing) == [None, None]
    assert f_score(segment_counts(nothing, nothing)) == f_score(event_counts(nothing, nothing)) == 1


@pytest.mark.parametrize(("score", "count"), [(scores, 4), (exclusive_scores, 4), (category_scores, 2)])
def test_parses_of_different_shapes_or_types_and_no_videos_are_refused(score: Callable[..., Any], count: int) -> None:
    good = parse("XX..")
    others = [good] * (count - 1)
    with pytest.raises(Refusal, match=r"one shape .* \(1, 1, 3\)"):
        score(*others, good[..., :3])
    with pytest.raises(Refusal, match="int64"):
        score(good.astype(np.int64), *others)
    with pytest.raises(Refusal, match="of one shape"):
        score(*[good[0]] * count)
    with pytest.raises(Refusal, match="at least one video"):
        score(*[good[:0]] * count)


# Every rule ----------------------------------------------------------------------------------------------------


def event_score(predicted: str, true: str) -> float:
    return scores(*[parse(predicted)] * 2, *[parse(true)] * 2)["event"]["audio"]


def test_an_intersection_over_union_of_exactly_one_half_counts() -> None:
    assert event_score("XX........", "XXXX......") == 100
    assert event_score("XX........", "XXXXX.....") == 0
    assert event_score("..XXX.....", "...XXX....") == 100
    assert event_score("..XX......", "...XX.....") == 0


def test_an_event_matches_at_most_one_other() -> None:
    counts = event_counts(parse("XXXXX.X..."), parse("XXX.X.X..."))
    assert [int(each[0, 0]) for each in (counts.hits, counts.false, counts.missed)] == [2, 0, 1]
    assert event_score("XXXXX.....", "XX.XX.....") == 0


def test_a_category_only_predicted_or_only_true_is_a_zero_in_the_mean() -> None:
    predicted, true = parse(("XX..", "X...")), parse(("XX..", "...."))
    found = scores(predicted, predicted, true, true)
    assert found["segment"]["audio"] == 50
    assert scores(true, true, predicted, predicted)["event"]["audio"] == 50


def test_audio_visual_means_positive_in_both_at_the_same_second() -> None:
    audio, visual = parse("XXXX......"), parse("..XXXX....")
    found = scores(audio, visual, audio, audio)["segment"]
    assert found["audio_visual"] == pytest.approx(100 * 4 / 6)


def test_type_at_av_is_a_mean_and_event_at_av_adds_the_counts_of_both_modalities() -> None:
    audio, visual, true_audio, true_visual = parse("XX.."), parse("X..."), parse("XXXX"), parse("...X")
    found = scores(audio, visual, true_audio, true_visual)["segment"]
    assert found["audio"] == pytest.approx(100 * 4 / 6)
    assert found["visual"] == 0
    assert found["audio_visual"] == 0  # predicted in second 0, true in second 3
    assert found["type_at_av"] == pytest.approx(100 * 4 / 6 / 3)
    assert found["event_at_av"] == pytest.approx(100 * 4 / (4 + 1 + 3))


def test_event_at_av_is_a_mean_over_the_categories_of_either_modality() -> None:
    audio, visual = parse(("XX..", "....")), parse(("....", "...."))
    found = scores(audio, visual, audio, parse(("....", ".X..")))["segment"]
    assert found["event_at_av"] == 50


def test_only_heard_means_heard_and_not_seen_in_the_same_second_in_truth_and_prediction_alike() -> None:
    audio, visual = parse("XXXX......"), parse("..XXXX....")
    found = exclusive_scores(audio, visual, audio, parse(".........."))["segment"]
    assert found["audible_only"] == pytest.approx(100 * 4 / 6)  # predicted only heard in 0 and 1, true in 0 to 3
    assert found["visible_only"] == 0  # predicted only seen in 4 and 5, true nowhere


def test_category_scores_add_the_counts_of_all_videos_and_know_absence() -> None:
    predicted, true = (
        parse(("XX..", "....", "X..."), ("....", "....", "....")),
        parse(("XX..", "....", "...."), ("XX..", "....", "....")),
    )
    assert category_scores(predicted, true) == [pytest.approx(100 * 4 / 6), None, 0.0]


# A plain slow definition ---------------------------------------------------------------------------------------


def slow_events(seconds: np.ndarray) -> list[tuple[int, int]]:
    found, start = [], None
    for second, positive in enumerate([*seconds, False]):
        if positive and start is None:
            start = second
        if not positive and start is not None:
            found.append((start, second))
            start = None
    return found


def slow_iou(one: tuple[int, int], other: tuple[int, int]) -> float:
    a, b = set(range(*one)), set(range(*other))
    return len(a & b) / len(a | b)


def slow_counts(predicted: np.ndarray, true: np.ndarray, level: str) -> tuple[int, int, int]:
    if level == "segment":
        couples = list(zip(predicted, true, strict=True))
        return couples.count((True, True)), couples.count((True, False)), couples.count((False, True))
    ours, theirs = slow_events(predicted), slow_events(true)
    hits = sum(any(slow_iou(one, other) >= 0.5 for other in theirs) for one in ours)
    found = sum(any(slow_iou(one, other) >= 0.5 for one in ours) for other in theirs)
    assert hits == found, "an event matches at most one other"
    return hits, len(ours) - hits, len(theirs) - found


def slow_f(counts: list[tuple[int, int, int]]) -> float:
    each = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn in counts if tp + fp + fn]
    return sum(each) / len(each) if each else 1.0


def slow_scores(audio: np.ndarray, visual: np.ndarray, true_audio: np.ndarray, true_visual: np.ndarray) -> dict:
    found: dict[str, dict[str, float]] = {}
    for level in LEVELS:
        rows = []
        for a, v, ta, tv in zip(audio, visual, true_audio, true_visual, strict=True):
            categories = range(len(a))
            of_audio = [slow_counts(a[c], ta[c], level) for c in categories]
            of_visual = [slow_counts(v[c], tv[c], level) for c in categories]
            of_both = [slow_counts(a[c] & v[c], ta[c] & tv[c], level) for c in categories]
            added = [tuple(map(sum, zip(x, y, strict=True))) for x, y in zip(of_audio, of_visual, strict=True)]
            rows.append([slow_f(of_audio), slow_f(of_visual), slow_f(of_both), slow_f(added)])  # type: ignore[arg-type]
        a, v, av, event = (100 * sum(column) / len(rows) for column in zip(*rows, strict=True))
        found[level] = dict(zip(KINDS, (a, v, av, (a + v + av) / 3, event), strict=True))
    return found


def test_runs_and_events_equal_the_plain_definition_for_every_six_seconds() -> None:
    patterns = np.array(list(product((False, True), repeat=6)))[:, None]
    first, last = runs(patterns)
    for row, pattern in enumerate(patterns[:, 0]):
        expected = slow_events(pattern)
        assert events(patterns)[row, 0] == len(expected)
        for start, stop in expected:
            assert (first[row, 0, start:stop] == start).all()
            assert (last[row, 0, start:stop] == stop - 1).all()


def four_parses(videos: int, categories: int, seconds: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.bool_, (4, videos, categories, seconds))


@settings(max_examples=150, deadline=None)
@given(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 10)).flatmap(lambda n: four_parses(*n)))
def test_the_scores_equal_the_plain_definition(four: np.ndarray) -> None:
    found, slow = scores(*four), slow_scores(*four)
    audio, visual, true_audio, true_visual = four
    heard = slow_scores(audio & ~visual, audio, true_audio & ~true_visual, true_audio)
    seen = slow_scores(audio, visual & ~audio, true_audio, true_visual & ~true_audio)
    only = exclusive_scores(*four)
    for level in LEVELS:
        assert found[level] == pytest.approx(slow[level], abs=1e-9)
        assert only[level]["audible_only"] == pytest.approx(heard[level]["audio"], abs=1e-9)
        assert only[level]["visible_only"] == pytest.approx(seen[level]["visual"], abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(four_parses(3, 2, 6))
def test_category_scores_equal_the_plain_definition(four: np.ndarray) -> None:
    predicted, true = four[:2]
    for category, found in enumerate(category_scores(predicted, true)):
        each = [slow_counts(p[category], t[category], "segment") for p, t in zip(predicted, true, strict=True)]
        tp, fp, fn = map(sum, zip(*each, strict=True))
        assert found == (pytest.approx(200 * tp / (2 * tp + fp + fn)) if tp + fp + fn else None)


def test_event_counts_equal_the_plain_definition_for_every_couple_of_six_seconds() -> None:
    patterns = np.array(list(product((False, True), repeat=6)))
    predicted, true = np.repeat(patterns, 64, axis=0)[:, None], np.tile(patterns, (64, 1))[:, None]
    counts = event_counts(predicted, true)
    found = np.stack([counts.hits, counts.false, counts.missed], axis=2)[:, 0]
    assert [tuple(row) for row in found] == [
        slow_counts(p[0], t[0], "event") for p, t in zip(predicted, true, strict=True)
    ]


@settings(max_examples=30, deadline=None)
@given(four_parses(5, 3, 10))
def test_scores_of_many_videos_are_the_mean_of_one_by_one(four: np.ndarray) -> None:
    together = scores(*four)
    alone = [scores(*four[:, [index]]) for index in range(5)]
    for level, kind in product(LEVELS, KINDS):
        assert together[level][kind] == pytest.approx(np.mean([one[level][kind] for one in alone]), abs=1e-9)
