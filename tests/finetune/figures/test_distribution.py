"""The figure of labels: the three parts of every category, and the counts that the paper tells of its own."""

from pathlib import Path

import pytest

from finetune.figures.distribution import KINDS, distribution_figure, label_counts
from shards.labels import CATEGORIES, Span, Tables

SPEECH, CAR, DOG = (CATEGORIES.index(name) for name in ("Speech", "Car", "Dog"))
WEAK = {
    "train": {"t_0_10": (DOG,)},
    "validation": {"v_0_10": (DOG,)},
    "test": {"a_0_10": (SPEECH, CAR), "b_0_10": (SPEECH,)},
}
AUDIO = {
    "a_0_10": (Span(SPEECH, 0, 2), Span(SPEECH, 4, 9), Span(CAR, 0, 1)),
    "b_0_10": (Span(SPEECH, 0, 10),),
    "v_0_10": (Span(DOG, 0, 1),),
}
TABLES = Tables(WEAK, AUDIO, visual={"a_0_10": (Span(CAR, 5, 9),), "b_0_10": (Span(DOG, 1, 2),)})


def test_a_category_counts_once_a_video_as_heard_seen_or_both_in_any_second() -> None:
    counts = label_counts(TABLES)
    assert {kind: values[SPEECH] for kind, values in counts.items()} == {
        "only heard": 2,
        "heard and seen": 0,
        "only seen": 0,
    }
    assert {kind: values[CAR] for kind, values in counts.items()} == {
        "only heard": 0,
        "heard and seen": 1,
        "only seen": 0,
    }
    assert {kind: values[DOG] for kind, values in counts.items()} == {
        "only heard": 0,
        "heard and seen": 0,
        "only seen": 1,
    }
    assert sum(map(sum, counts.values())) == 4


def test_another_split_is_counted_alone() -> None:
    counts = label_counts(TABLES, "validation")
    assert counts["only heard"][DOG] == sum(map(sum, counts.values())) == 1


def test_the_bars_are_the_counts_the_longest_on_top_and_an_absent_category_is_a_dash() -> None:
    counts = label_counts(TABLES)
    (panel,) = distribution_figure(counts).axes
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels[0] == "Speech"
    assert [bars.get_label() for bars in panel.containers] == [f"{kind} ({sum(counts[kind])})" for kind in KINDS]
    lengths = [sum(bars[row].get_width() for bars in panel.containers) for row in range(len(labels))]
    assert lengths == sorted(lengths, reverse=True)
    shares = [text.get_text() for text in panel.texts]
    assert shares[0] == "100% · 0% · 0%"
    assert shares.count("–") == len(CATEGORIES) - 3


def test_the_real_tables_give_what_the_paper_says_of_its_figure_1(llp: Path) -> None:
    counts = label_counts(Tables.load(llp))
    heard, both, seen = (counts[kind] for kind in KINDS)
    assert (heard[SPEECH] + both[SPEECH], seen[SPEECH] + both[SPEECH]) == (620, 142)
    every = heard[SPEECH] + both[SPEECH] + seen[SPEECH]
    assert heard[SPEECH] / every == pytest.approx(0.77, abs=0.005)
    assert every / sum(map(sum, counts.values())) > 0.28
    assert (sum(heard) + sum(both), sum(seen) + sum(both)) == (2083, 1444)
