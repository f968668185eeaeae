"""Timelines and labels are drawn like LLP's: always consistent with the weak label, and with its statistics."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from shards.labels import CATEGORIES, Tables
from shards.planted.dice import Dice
from shards.planted.timelines import Statistics, draw_event_seconds, draw_labels, draw_parses

SPEECH = CATEGORIES.index("Speech")


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    return Statistics.frozen()


def test_the_frozen_statistics_are_those_of_the_real_validation_tables(llp: Path, statistics: Statistics) -> None:
    assert Statistics.measure(Tables.load(llp)) == statistics


def test_statistics_survive_json(statistics: Statistics) -> None:
    assert Statistics.from_json(json.loads(json.dumps(asdict(statistics)))) == statistics


def test_every_label_is_heard_or_seen_and_nothing_else_is(statistics: Statistics) -> None:
    for number in range(300):
        labels = draw_labels(statistics, Dice("labels", number))
        audio, visual = draw_parses(statistics, labels, Dice("parses", number))
        on = (audio | visual).any(axis=1)
        assert np.flatnonzero(on).tolist() == list(labels)


def test_speech_is_seen_in_about_a_fifth_of_the_videos_that_name_it(statistics: Statistics) -> None:
    drawn = [draw_event_seconds(statistics, SPEECH, Dice("speech", number)) for number in range(2000)]
    seen = np.mean([visual.any() for _, visual in drawn])
    assert 0.19 < seen < 0.27
    assert np.mean([audio.any() for audio, _ in drawn]) > 0.98


def test_events_of_the_two_modalities_differ_in_a_third_of_the_videos_that_have_both(statistics: Statistics) -> None:
    drawn = [draw_event_seconds(statistics, n % 25, Dice("both", n)) for n in range(4000)]
    both = [(audio, visual) for audio, visual in drawn if audio.any() and visual.any()]
    alike = np.mean([np.array_equal(audio, visual) for audio, visual in both])
    assert 0.5 < alike < 0.8


def test_videos_name_as_many_categories_as_in_llp(statistics: Statistics) -> None:
    counts = np.bincount([len(draw_labels(statistics, Dice("count", n))) for n in range(3000)], minlength=5) / 3000
    expected = np.array(statistics.labels) / sum(statistics.labels)
    assert np.abs(counts[: len(expected)] - expected).max() < 0.03


def test_widened_statistics_keep_the_labelled_classes_and_reach_the_others(statistics: Statistics) -> None:
    wide = statistics.widened(60)
    assert wide.habits[:25] == statistics.habits
    drawn = {category for n in range(800) for category in draw_labels(wide, Dice("wide", n))}
    assert max(drawn) > 40
    assert SPEECH in drawn


def test_an_empty_validation_table_still_gives_timelines() -> None:
    empty = Statistics.measure(Tables({"train": {}, "validation": {}, "test": {}}, {}, {}))
    audio, visual = draw_parses(empty, [3], Dice("empty"))
    assert (audio | visual)[3].any()
