"""What a request may hold: the parses of the local parser for any number of videos, or a sentence."""

from typing import Any

import numpy as np
import pytest
import torch

from finetune.parser import Parser
from finetune.parses.events import parse_videos
from finetune.scoring.decision import Protocol
from finetune.served import request
from finetune.served.request import answer
from launch.refusal import Refusal


@pytest.fixture
def parser(corpus: Any) -> Parser:
    return Parser.from_pretrained(corpus.untrained())


def features(parser: Parser, videos: int) -> dict[str, Any]:
    dice = np.random.default_rng(videos)
    return {name: dice.standard_normal((videos, 10, width)).astype(np.float32) for name, width in parser.widths.items()}


@pytest.mark.parametrize("videos", [1, 5])
def test_the_answer_is_what_the_local_parser_says(parser: Parser, videos: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "BATCH", 2)
    sent, keys = features(parser, videos), [f"clip{number}_0_{6 + number % 5}" for number in range(videos)]
    tensors = {name: torch.from_numpy(array) for name, array in sent.items()}
    expected = [parse.content() for parse in parse_videos(parser, keys, tensors, Protocol())]
    assert any(parse["events"] for parse in expected)
    nested = {name: array.tolist() for name, array in sent.items()}
    for given in (sent, nested):
        found = answer(parser, Protocol(), given, keys)
        assert [(parse["key"], parse["seconds"], parse["events"]) for parse in found] == [
            (parse["key"], parse["seconds"], parse["events"]) for parse in expected
        ]


def test_a_video_without_a_key_is_called_by_its_place_and_whole(parser: Parser) -> None:
    found = answer(parser, Protocol(), features(parser, 3), ())
    assert [(parse["key"], parse["seconds"]) for parse in found] == [("0", 10), ("1", 10), ("2", 10)]


def test_a_request_without_videos_has_an_empty_answer(parser: Parser) -> None:
    assert answer(parser, Protocol(), features(parser, 0), ()) == []


def test_features_that_are_not_the_parsers_are_refused(parser: Parser) -> None:
    sent = features(parser, 2)
    with pytest.raises(Refusal, match="but holds 'frames', 'motion': send each as nested lists"):
        answer(parser, Protocol(), {name: sent[name] for name in ("frames", "motion")}, ())
    with pytest.raises(Refusal, match="but holds 'sound', 'frames', 'motion', 'smell'"):
        answer(parser, Protocol(), sent | {"smell": sent["sound"]}, ())
    with pytest.raises(Refusal, match="but holds a list"):
        answer(parser, Protocol(), [1, 2], ())
    with pytest.raises(Refusal, match="but holds none"):
        answer(parser, Protocol(), {}, ())


def test_features_of_another_shape_are_refused_by_name(parser: Parser) -> None:
    sent = features(parser, 2)
    for wrong in (sent["frames"][:, :9], sent["frames"][..., :3], sent["frames"][0], sent["frames"][0, 0, 0]):
        with pytest.raises(Refusal, match=r"'frames' has shape .*: send \(videos, 10, 10\)"):
            answer(parser, Protocol(), sent | {"frames": wrong}, ())
    ragged = [sent["frames"][0].tolist(), sent["frames"][1, :4].tolist()]
    for wrong in (ragged, "abc", [[["a"] * 10] * 10] * 2):
        with pytest.raises(Refusal, match="nested lists of numbers of equal lengths, but 'frames' is not"):
            answer(parser, Protocol(), sent | {"frames": wrong}, ())
    with pytest.raises(Refusal, match=r"holds \{'sound': 2, 'frames': 1, 'motion': 2\}"):
        answer(parser, Protocol(), sent | {"frames": sent["frames"][:1]}, ())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_by_their_place(parser: Parser, value: float) -> None:
    sent = features(parser, 2)
    sent["motion"][1, 4, 2] = value
    with pytest.raises(Refusal, match=rf"'motion' holds {value} in video 1, second 4, column 2"):
        answer(parser, Protocol(), sent, ())


def test_keys_are_one_a_video_each_its_own_and_printable(parser: Parser) -> None:
    sent = features(parser, 2)
    for keys, words in (
        (["a"], "has 1 keys for 2 videos"),
        (["a", "a"], "'a' comes twice"),
        (["a", "b/c"], "free of '/'"),
        (["a", ""], "an empty key"),
    ):
        with pytest.raises(Refusal, match=words):
            answer(parser, Protocol(), sent, keys)
