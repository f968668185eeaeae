"""A video shorter than ten seconds is parsed, scored and learnt from as if it were alone and cut to its length."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune.batches import Split, load_splits
from finetune.cleaning.targets import Targets
from finetune.losses import LossSettings, Objective
from finetune.parser import Parser, ParserSettings
from finetune.scoring.decision import Protocol, decide
from finetune.scoring.metrics import exclusive_scores, scores
from finetune.scoring.protocol import fit_thresholds, judge, parses
from shards.labels import Span, Tables

LENGTHS = {"whole_0_10": 10, "seven_30_37": 7, "two_3_5": 2, "one_0_0.5": 1, "other_5_15": 10}
CPU = torch.device("cpu")
VARIANTS = [
    {"architecture": "han"},
    {"architecture": "base"},
    {"architecture": "base", "skip": True, "gcaa": True, "adversarial": True},
]


@pytest.fixture
def split(corpus: Any, tmp_path: Path) -> Split:
    """Five validation videos; what the shards hold beyond a video's end, and the tables say of it, is arbitrary."""
    weak = dict.fromkeys(LENGTHS, (0, 3, 24))
    audio = {key: (Span(0, 0, 10), Span(3, 1, 6)) for key in LENGTHS}
    visual = {key: (Span(0, 2, 9), Span(24, 0, 10)) for key in LENGTHS}
    (tmp_path / "short").mkdir()
    Tables({"train": {}, "validation": weak, "test": {}}, audio, visual).write(tmp_path / "short")
    folder = corpus.write_shards("short shards", {"validation": list(LENGTHS)})
    tables = Tables.load(tmp_path / "short")
    (loaded,) = load_splits(folder, tables, ("validation",), corpus.parser.features, "refuse", CPU)
    return loaded


def parser_of(split: Split, settings: ParserSettings, variant: dict[str, Any]) -> Parser:
    torch.manual_seed(0)
    widths = {name: rows.shape[2] for name, rows in split.features.items()}
    return Parser(settings.model_copy(update=variant), widths).eval()


def test_which_seconds_exist_is_told_by_the_key(split: Split) -> None:
    assert split.present is not None
    assert split.present.sum(dim=1).tolist() == list(LENGTHS.values())
    assert all(not truth[row, :, length:].any() for truth in split.truth for row, length in enumerate(LENGTHS.values()))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("gate", ["global", "per_modality"])
def test_parse_and_scores_are_those_of_each_video_alone_and_cut(
    split: Split, corpus: Any, variant: dict[str, Any], gate: Any
) -> None:
    parser, protocol = parser_of(split, corpus.parser, variant), Protocol(gate=gate, threshold=0.49)
    audio, visual = parses(parser, split, protocol)
    alone, only = [], []
    for row, length in enumerate(LENGTHS.values()):
        features = {name: rows[[row], :length].float() for name, rows in split.features.items()}
        with torch.inference_mode():
            cut = decide(parser(features), protocol).numpy()[:, 0]
        assert np.array_equal(audio[row, :, :length], cut[0])
        assert np.array_equal(visual[row, :, :length], cut[1])
        assert not audio[row, :, length:].any()
        assert not visual[row, :, length:].any()
        four = [*cut[:, None], *(truth[[row], :, :length] for truth in split.truth)]
        alone.append(scores(*four))
        only.append(exclusive_scores(*four))
    assert 0.1 < audio.mean() < 0.9
    found = judge(parser, split, protocol)
    for level, kinds in found.scores.items():
        for kind, value in kinds.items():
            assert value == pytest.approx(np.mean([one[level][kind] for one in alone]), abs=1e-9)
    for level, kinds in found.exclusive.items():
        for kind, value in kinds.items():
            assert value == pytest.approx(np.mean([one[level][kind] for one in only]), abs=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_lies_beyond_the_end_touches_neither_the_loss_nor_any_gradient(
    split: Split, corpus: Any, variant: dict[str, Any]
) -> None:
    found = []
    for beyond in (0.0, 1e3):
        parser = parser_of(split, corpus.parser, variant)
        objective = Objective(LossSettings(), corpus.parser.width, parser.settings.adversarial)
        batch = next(split.in_order(5))
        assert batch.present is not None
        targets = replace(Targets.weak(batch.labels), seconds=torch.full((2, 5, 10, 25), 0.3))
        assert targets.seconds is not None
        targets.seconds[:, ~batch.present] = beyond
        for rows in batch.features.values():
            rows[~batch.present] = beyond
        objective(parser(batch.features, batch.present), targets, 0.5)["loss"].backward()
        trained = [*parser.named_parameters(), *objective.named_parameters()]
        found.append({name: parameter.grad for name, parameter in trained})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_thresholds_are_fitted_to_the_seconds_that_exist(split: Split, corpus: Any) -> None:
    parser, protocol = parser_of(split, corpus.parser, VARIANTS[0]), Protocol(gate="none")
    found = fit_thresholds(parser, split, protocol)
    assert split.present is not None
    for rows in split.features.values():
        rows[~split.present] = 100
    assert fit_thresholds(parser, split, protocol) == found
