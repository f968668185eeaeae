"""The judgement is the same for every batch size; thresholds come with the parser; the conditions are told."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from finetune.batches import Split, load_splits
from finetune.parser import Parser
from finetune.scoring.decision import Protocol
from finetune.scoring.metrics import EXCLUSIVE, KINDS
from finetune.scoring.protocol import (
    conditions,
    coverage,
    describe,
    fit_thresholds,
    in_short,
    judge,
    parses,
    table,
    thresholds_of,
)
from launch.refusal import Refusal
from shards.labels import Tables

CPU = torch.device("cpu")
VARIANTS = [{"architecture": "han"}, {}, {"skip": True, "gcaa": True}]


def load(corpus: Any, name: str) -> tuple[Split, Parser]:
    (split,) = load_splits(
        corpus.shards, Tables.load(corpus.tables), (name,), corpus.parser.features, "refuse", torch.device("cpu")
    )
    torch.manual_seed(0)
    return split, Parser(corpus.parser, {name: rows.shape[2] for name, rows in split.features.items()}).train()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_judgement_does_not_depend_on_the_batch(corpus: Any, variant: dict[str, Any]) -> None:
    split, _ = load(corpus, "test")
    settings = corpus.parser.model_copy(update=variant)
    parser = Parser(settings, {name: rows.shape[2] for name, rows in split.features.items()}).train()
    protocol = Protocol(threshold=0.48, gate="none")
    assert judge(parser, split, protocol, 128) == judge(parser, split, protocol, 1)
    assert parser.training, "the mode is left as it was"
    audio, visual = parses(parser, split, protocol)
    assert audio.shape == visual.shape == (11, 25, 10)
    assert 0 < audio.mean() < 1
    for batch in (1, 3):
        assert all(
            np.array_equal(x, y) for x, y in zip((audio, visual), parses(parser, split, protocol, batch), strict=True)
        )


def test_thresholds_that_a_parser_brings_along_decide_where_the_protocol_asks_for_them(corpus: Any) -> None:
    split, parser = load(corpus, "validation")
    protocol = Protocol(thresholds="per_class", gate_threshold=0.2)
    with pytest.raises(Refusal, match="it has none"):
        judge(parser, split, protocol)
    parser.trained_on = {"thresholds": fit_thresholds(parser, split, protocol)}
    own, fixed = judge(parser, split, protocol), judge(parser, split, protocol.fixed)
    assert judge(parser, split, protocol, 1) == own
    pairs = [
        pair for name in ("audio", "visual") for pair in zip(own.categories[name], fixed.categories[name], strict=True)
    ]
    assert all(one >= other for one, other in pairs if one is not None and other is not None)
    assert any(one > other for one, other in pairs if one is not None and other is not None)


def test_thresholds_of_another_gate_or_split_are_refused(corpus: Any) -> None:
    split, parser = load(corpus, "validation")
    parser.trained_on = {"thresholds": fit_thresholds(parser, split, Protocol())}
    assert thresholds_of(parser, Protocol()) is None
    with pytest.raises(Refusal, match="the gate 'global', not 'none'"):
        thresholds_of(parser, Protocol(thresholds="per_class", gate="none"))
    with pytest.raises(Refusal, match=r"must be fitted on the validation split, .* the split is 'test'"):
        fit_thresholds(parser, load(corpus, "test")[0], Protocol())


def test_gate_and_thresholds_are_told_with_a_score_at_length_and_in_short(corpus: Any) -> None:
    split, parser = load(corpus, "validation")
    for protocol, short in (
        (Protocol(), "gate global (p ≥ 0.5), seconds p ≥ 0.5"),
        (
            Protocol(gate="per_modality", gate_threshold=0.3, threshold=0.25),
            "gate per_modality (p ≥ 0.3), seconds p ≥ 0.25",
        ),
        (Protocol(gate="none", thresholds="per_class"), "gate none, seconds per class, fitted on validation"),
    ):
        fitted = fit_thresholds(parser, split, protocol)
        found = describe(protocol, split, {"train": 24}, {}, fitted)
        assert in_short(found) == short
        assert found.get("fitted") == (fitted if protocol.thresholds == "per_class" else None)
        assert f"  gate: {protocol.gate}\n" in conditions(found)
        assert f"  thresholds: {protocol.thresholds}\n" in conditions(found)
        assert "fitted:" not in conditions(found)


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


def test_the_exclusive_scores_stand_beside_the_ten() -> None:
    ten = {level: dict.fromkeys(KINDS, 1.0) for level in ("segment", "event")}
    text = table(ten, {level: dict.fromkeys(EXCLUSIVE, 23.4) for level in ten})
    lines = [re.split(r"\s+", line.strip()) for line in text.splitlines()]
    assert lines[0][-2:] == ["Audible-only", "Visible-only"]
    assert [line[-3:] for line in lines[1:]] == [["1.0", "23.4", "23.4"]] * 2
    assert len({len(line) for line in text.splitlines()}) == 1
