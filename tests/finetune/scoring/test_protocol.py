"""The judgement is the same for every batch size and for a video cut to its length; its conditions are told."""

import re
from typing import Any

import numpy as np
import torch

from finetune.batches import load_splits
from finetune.parser import Parser
from finetune.scoring.protocol import Protocol, coverage, judge, parses, table
from shards.labels import Tables


def test_the_judgement_does_not_depend_on_the_batch(corpus: Any) -> None:
    (split,) = load_splits(
        corpus.shards, Tables.load(corpus.tables), ("test",), corpus.parser.features, "refuse", torch.device("cpu")
    )
    torch.manual_seed(0)
    parser = Parser(corpus.parser, {name: rows.shape[2] for name, rows in split.features.items()}).train()
    protocol = Protocol(threshold=0.48, gate="none")
    together, alone = (judge(parser, split, protocol, batch) for batch in (128, 1))
    assert together.scores == alone.scores
    assert together.categories == alone.categories
    assert parser.training, "the mode is left as it was"
    audio, visual = parses(parser, split, protocol)
    assert audio.shape == visual.shape == (11, 25, 10)
    assert 0 < audio.mean() < 1
    assert all(np.array_equal(x, y) for x, y in zip((audio, visual), parses(parser, split, protocol, 3), strict=True))


def test_a_subset_and_planted_features_are_called_not_comparable() -> None:
    whole, part = {"train": 10_000, "test": 1_200}, {"train": 10_000, "test": 300}
    assert coverage(whole, planted=False).startswith("comparable with the paper")
    assert coverage(part, planted=False).startswith("subset: not comparable with the paper")
    assert coverage({"train": 1_500, "test": 1_200}, planted=False).startswith("subset: not comparable")
    assert coverage(whole, planted=True).startswith("planted features: not comparable with the paper")
    assert "subset: not comparable with the paper (10,000 of 10,000 train videos, 300" in coverage(part, planted=True)


def test_the_table_has_the_papers_columns() -> None:
    kinds = ("audio", "visual", "audio_visual", "type_at_av", "event_at_av")
    text = table(
        {level: dict(zip(kinds, row, strict=True)) for level, row in (("segment", range(5)), ("event", range(5, 10)))}
    )
    lines = [re.split(r"\s+", line.strip()) for line in text.splitlines()]
    assert lines[0] == ["Audio", "Visual", "AV", "Type@AV", "Event@AV"]
    assert lines[2] == ["event", "5.0", "6.0", "7.0", "8.0", "9.0"]
