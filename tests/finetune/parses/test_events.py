"""From probabilities to events: maximal runs with their mean probability, the same parse that is scored."""

from typing import Any

import numpy as np
import pytest
import torch

from finetune.batches import load_splits
from finetune.parser import Parser
from finetune.parses.events import LANES, Event, events_of, in_lane, parse_videos, true_events
from finetune.scoring.decision import Protocol
from finetune.scoring.protocol import parses
from finetune.scoring.thresholds import told
from shards.labels import CATEGORIES, Span, Tables, fill, spans_of

CPU = torch.device("cpu")


def as_parse(events: Any, lane: str) -> Any:
    spans = [Span(CATEGORIES.index(event.category), event.onset, event.offset) for event in in_lane(events, lane)]
    return fill({"x": spans}, ["x"])[0]


def by_hand(decided: Any, sure: Any) -> list[Event]:
    """Every lane, category and second in turn, as plain as can be."""
    found = []
    for lane in LANES:
        for category, name in enumerate(CATEGORIES):
            run = list[float]()
            for second in range(decided.shape[2] + 1):
                both = second < decided.shape[2] and decided[:, category, second]
                modality = LANES.index(lane)
                if second < decided.shape[2] and (all(both) if lane == "audio_visual" else both[modality]):
                    each = sure[:, category, second]
                    run.append(float(min(each) if lane == "audio_visual" else each[modality]))
                elif run:
                    found.append(Event(name, lane, second - len(run), second, round(sum(run) / len(run), 4)))
                    run = []
    return found


@pytest.mark.parametrize("seconds", [1, 7, 10])
def test_events_are_maximal_runs_and_their_confidence_the_mean_over_them(seconds: int) -> None:
    dice = np.random.default_rng(seconds)
    sure = dice.random((2, 25, seconds))
    decided = sure > 0.4
    assert list(events_of(decided, sure)) == by_hand(decided, sure)


def test_the_confidence_of_an_audio_visual_event_is_that_of_the_weaker_modality_second_by_second() -> None:
    decided = np.zeros((2, 25, 10), bool)
    decided[:, 3, 2:4] = True
    sure = np.zeros((2, 25, 10))
    sure[0, 3, 2:4], sure[1, 3, 2:4] = (0.9, 0.5), (0.6, 0.8)
    assert [(event.modality, event.confidence) for event in events_of(decided, sure)] == [
        ("audio", 0.7),
        ("visual", 0.7),
        ("audio_visual", 0.55),
    ]


def test_a_parse_of_nothing_has_no_events() -> None:
    assert events_of(np.zeros((2, 25, 10), bool), np.ones((2, 25, 10))) == ()


@pytest.mark.parametrize(
    "protocol",
    [Protocol(), Protocol(gate="per_modality", threshold=0.45), Protocol(gate="none", thresholds="per_class")],
)
def test_the_events_are_the_parse_that_is_scored(corpus: Any, protocol: Protocol) -> None:
    fitted = told(np.random.default_rng(0).uniform(0.4, 0.6, (2, 25)), protocol.fitted_under)
    parser = Parser.from_pretrained(corpus.untrained(thresholds=fitted))
    tables = Tables.load(corpus.tables)
    (split,) = load_splits(corpus.shards, tables, ("test",), parser.settings.features, "refuse", CPU)
    batch = split.batch(torch.arange(len(split)))
    found = parse_videos(parser, split.keys, batch.features, protocol)
    audio, visual = parses(parser, split, protocol)
    assert audio.any()
    assert not audio.all()
    for row, parse in enumerate(found):
        assert parse.key == split.keys[row]
        assert (as_parse(parse.events, "audio") == audio[row]).all()
        assert (as_parse(parse.events, "visual") == visual[row]).all()
        assert (as_parse(parse.events, "audio_visual") == audio[row] & visual[row]).all()


def test_probabilities_of_the_video_are_named_by_category(corpus: Any) -> None:
    parser = Parser.from_pretrained(corpus.untrained())
    features = {name: torch.randn(3, 10, width) for name, width in parser.widths.items()}
    parsed = parser(features)
    for row, parse in enumerate(parse_videos(parser, ["x_0_10", "y_0_10", "z"], features, Protocol())):
        for name, each in (("audio", parsed.audio), ("visual", parsed.visual), ("video", parsed.video)):
            assert list(parse.probabilities[name]) == list(CATEGORIES)
            expected = each[row].detach().numpy()
            assert np.allclose(list(parse.probabilities[name].values()), expected, atol=6e-5)


def test_a_short_video_ends_with_its_own_seconds_whatever_the_rest_holds(corpus: Any) -> None:
    parser = Parser.from_pretrained(corpus.untrained())
    features = {name: torch.randn(2, 10, width) for name, width in parser.widths.items()}
    other = {name: tensor.clone() for name, tensor in features.items()}
    for tensor in other.values():
        tensor[0, 6:] = 7.0
    keys = ["short_30_36", "whole_30_40"]
    protocol = Protocol(threshold=0.3)
    short, whole = parse_videos(parser, keys, features, protocol)
    assert (short.seconds, whole.seconds) == (6, 10)
    assert max(event.offset for event in short.events) == 6
    assert max(event.offset for event in whole.events) == 10
    assert parse_videos(parser, keys, other, protocol) == [short, whole]


def test_truth_is_known_where_somebody_annotated_and_nowhere_else(corpus: Any) -> None:
    tables = Tables.load(corpus.tables)
    key = corpus.keys("test")[0]
    truth = true_events(tables, key)
    assert truth is not None
    audio, visual = tables.truth([key])
    assert (as_parse(truth, "audio") == audio[0]).all()
    assert len(in_lane(truth, "audio_visual")) == len(spans_of(audio[0] & visual[0])) == 1
    assert true_events(tables, corpus.keys("train")[0]) is None
    assert true_events(tables, "unknown_0_10") is None
    silent = Tables(tables.weak, {}, {})
    assert true_events(silent, key) == ()


def test_nothing_is_heard_without_sound_nor_seen_without_a_picture(corpus: Any) -> None:
    parser = Parser.from_pretrained(corpus.untrained())
    features = {name: torch.randn(3, 10, width) for name, width in parser.widths.items()}
    present = np.ones((2, 3, 10), bool)
    present[0, 0], present[1, 1, 3:5], present[0, 2, 5:] = False, False, False
    keys, protocol = ["mute_0_10", "gap_0_10", "short_0_6"], Protocol(gate="none", threshold=0)
    mute, gap, short = parse_videos(parser, keys, features, protocol, present, curves=True)
    assert mute.absent == {"audio": list(range(10))}
    assert {event.modality for event in mute.events} == {"visual"}
    assert set(mute.probabilities["audio"].values()) == {0.0}
    assert mute.curves["audio"]["Dog"] == [None] * 10
    assert gap.absent == {"visual": [3, 4]}
    dogs = [event for event in gap.events if event.category == "Dog"]
    assert [(event.modality, event.onset, event.offset) for event in dogs] == [
        ("audio", 0, 10), ("visual", 0, 3), ("visual", 5, 10), ("audio_visual", 0, 3), ("audio_visual", 5, 10),
    ]  # fmt: skip
    assert short.absent == {"audio": [5]}  # what lies beyond the end is not absent: it does not exist
    assert max(event.offset for event in short.events) == 6
    assert "curves" in gap.content()


def test_curves_are_the_probabilities_of_each_second_and_asked_for(corpus: Any) -> None:
    parser = Parser.from_pretrained(corpus.untrained())
    features = {name: torch.randn(1, 10, width) for name, width in parser.widths.items()}
    (plain,) = parse_videos(parser, ["x_0_10"], features, Protocol())
    (asked,) = parse_videos(parser, ["x_0_10"], features, Protocol(), curves=True)
    assert set(plain.content()) == {"key", "seconds", "events", "probabilities"}
    assert asked.events == plain.events
    seconds = parser(features).seconds[:, 0].detach().numpy()
    for modality, of in zip(("audio", "visual"), seconds, strict=True):
        assert np.allclose([asked.curves[modality][name] for name in CATEGORIES], of.T, atol=6e-5)
