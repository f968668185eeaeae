"""The model card says what the files say, and nothing that they do not."""

import json
from typing import Any

import pytest

from finetune import train
from finetune.parser import Parser
from finetune.scoring.decision import Protocol
from finetune.scoring.protocol import table
from finetune.served.card import NAME, called, card
from shards.labels import CATEGORIES


@pytest.fixture
def trained(corpus: Any) -> tuple[Parser, Any, str]:
    """A parser, its scores, and the card that training wrote."""
    config = corpus.training(protocol=Protocol(gate="per_modality", threshold=0.4))
    train.main(config)
    scores = json.loads((config.out / "scores.json").read_text())
    return Parser.from_pretrained(config.out), scores, (config.out / NAME).read_text()


def test_training_leaves_a_card_with_data_protocol_scores_seed_and_digests(
    trained: tuple[Parser, Any, str], corpus: Any
) -> None:
    parser, scores, text = trained
    assert text == card(parser, scores)
    assert "24 train videos and 9 validation videos" in text
    assert "gate per_modality (p ≥ 0.4), seconds p ≥ 0.4" in text
    assert "F-scores in percent on 9 validation videos" in text
    assert table({level: scores[level] for level in ("segment", "event")}) in text
    assert '"seed": 0' in text
    assert '"learning_rate": 0.003' in text
    assert "| sound | 6 | audio | raw |" in text
    assert "| motion | 4 | visual |  |" in text
    assert f"{parser.trained_on['epoch']} of 2" in text
    for digest in (*parser.trained_on["manifests"].values(), *parser.trained_on["tables"].values()):
        assert digest in text
    assert 'Parser.from_pretrained("FOLDER")' in text
    assert ", ".join(CATEGORIES) in text
    assert "Apache License 2.0" in text


def test_labels_by_another_model_are_told_with_their_digest(trained: tuple[Parser, Any, str]) -> None:
    parser, scores, text = trained
    parser.trained_on["pseudo"] = "feed" * 16
    assert "another model made" in card(parser, scores)
    assert f"- pseudo-labels: `{'feed' * 16}`" in card(parser, scores)
    assert "another model made" not in text


def test_what_limits_the_parser_depends_on_its_data(trained: tuple[Parser, Any, str]) -> None:
    parser, scores, text = trained
    assert "subset: not comparable with the paper (24 of 10,000 train videos, 9 of 649 validation videos)" in text
    assert "planted" not in text
    assert "embeddings" not in text
    parser.trained_on["never_labelled"] = []
    assert "means nothing" not in card(parser, scores)
    scores["protocol"]["source"]["corpus"] = {"generator": "planted"}
    parser.trained_on["features"]["sound"]["encoder"] = "abc"
    parser.trained_on["never_labelled"] = ["Blender", "Banjo"]
    changed = card(parser, scores)
    assert "what it says of these means nothing: Blender, Banjo." in changed
    assert "features were planted by a generator" in changed
    assert "reads embeddings of one encoder" in changed


def test_thresholds_that_were_fitted_are_told_as_such(trained: tuple[Parser, Any, str]) -> None:
    parser, scores, text = trained
    assert "The epoch was chosen by these very videos" in text
    scores["protocol"]["thresholds"] = "per_class"
    assert "The epoch and the thresholds were chosen by these very videos" in card(parser, scores)


def test_the_architecture_is_called_by_its_options(corpus: Any) -> None:
    full = corpus.parser.model_copy(update={"skip": True, "adversarial": True, "gcaa": True})
    assert called(full) == "Base + adversarial + skip + gcaa"
    assert called(corpus.parser.model_copy(update={"architecture": "han"})) == "HAN"
