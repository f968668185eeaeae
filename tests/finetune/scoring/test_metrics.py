"""The ten scores: golden values on the real tables, every rule on small parses, and a plain slow definition."""

import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from finetune.scoring.metrics import KINDS, LEVELS, category_scores, event_counts, scores
from launch.refusal import Refusal
from shards.labels import Tables

NOTHING = {"segment": (0.50, 10.08, 14.50, 8.36, 0.00), "event": (0.50, 10.08, 14.50, 8.36, 0.00)}
WEAK_EVERYWHERE = {
    "test": {"segment": (76.12, 60.35, 52.61, 63.03, 71.73), "event": (63.03, 55.75, 44.69, 54.49, 61.60)},
    "validation": {"segment": (77.07, 58.65, 52.07, 62.60, 71.53)},
}


def parse(*videos: tuple[str, ...] | str) -> np.ndarray:
    """Parses from pictures: one string a category, `X` where it is positive."""
    return np.array([[[s == "X" for s in row] for row in ([v] if isinstance(v, str) else v)] for v in videos])


def rounded(found: dict[str, float]) -> tuple[float, ...]:
    return tuple(round(found[kind], 2) for kind in KINDS)


# Golden values -------------------------------------------------------------------------------------------------


def test_nothing_predicted_scores_its_golden_values_on_the_real_test_tables(llp: Path) -> None:
    tables = Tables.load(llp)
    audio, visual = tables.truth(tables.keys("test"))
    found = scores(np.zeros_like(audio), np.zeros_like(visual), audio, visual)
    assert {level: rounded(found[level]) for level in LEVELS} == NOTHING


@pytest.mark.parametrize("split", WEAK_EVERYWHERE)
def test_true_weak_labels_everywhere_score_their_golden_values(llp: Path, split: str) -> None:
    tables = Tables.load(llp)
    keys = tables.keys(split)
    everywhere = np.repeat(tables.weak_matrix(keys)[:, :, None], 10, axis=2)
    found = scores(everywhere, everywhere, *tables.truth(keys))
    for level, golden in WEAK_EVERYWHERE[split].items():
        assert rounded(found[level]) == golden


def test_the_truth_itself_scores_one_hundred_on_the_real_tables_in_well_under_a_second(llp: Path) -> None:
    tables = Tables.load(llp)
    truth = tables.truth(tables.keys("test"))
    start = time.process_time()
    found = scores(*truth, *truth)
    assert time.process_time() - start < 1
    assert {value for kinds in found.values() for value in kinds.values()} == {100.0}


# Perfect, empty, malformed -------------------------------------------------------------------------------------


def test_a_perfect_parse_scores_one_hundred_in_all_ten() -> None:
    audio, visual = parse(("XX..", "...X"), ("....", ".XX.")), parse((".XX.", "...."), ("....", ".X.."))
    assert all(value == 100 for kinds in scores(audio, visual, audio, visual).values() for value in kinds.values())


def test_a_video_without_any_category_counts_as_one() -> None:
    nothing = parse(("....", "...."))
    assert rounded(scores(nothing, nothing, nothing, nothing)["segment"]) == (100, 100, 100, 100, 100)
    one = parse("....", "XX..")
    assert scores(np.zeros_like(one), one, one, one)["segment"]["audio"] == 50


def test_parses_of_different_shapes_or_types_and_no_videos_are_refused() -> None:
    good = parse("XX..")
    with pytest.raises(Refusal, match=r"one shape .* \(1, 1, 3\)"):
        scores(good, good, good, good[..., :3])
    with pytest.raises(Refusal, match="int64"):
        scores(good.astype(np.int64), good, good, good)
    with pytest.raises(Refusal, match="at least one video"):
        scores(*[good[:0]] * 4)


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


def four_parses(videos: int, categories: int, seconds: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.bool_, (4, videos, categories, seconds))


@settings(max_examples=150, deadline=None)
@given(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 10)).flatmap(lambda n: four_parses(*n)))
def test_the_scores_equal_the_plain_definition(four: np.ndarray) -> None:
    found, slow = scores(*four), slow_scores(*four)
    for level in LEVELS:
        assert found[level] == pytest.approx(slow[level], abs=1e-9)


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
