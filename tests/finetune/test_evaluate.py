"""Evaluation from the files alone: scores, table and plot, and a refusal where parser and shards do not match."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune import evaluate, train
from finetune.batches import load_splits
from finetune.parser import Parser
from finetune.scoring.decision import Protocol
from finetune.scoring.protocol import judge
from launch.digest import sha256_file
from launch.refusal import Refusal
from launch.world import World
from shards.labels import CATEGORIES, Span, Tables
from shards.read import ReadSettings
from shards.schema import Feature


@pytest.fixture
def trained(corpus: Any) -> Any:
    train.main(corpus.training())
    return corpus


def test_scores_table_and_plot_are_written_and_said(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = trained.evaluation()
    evaluate.main(config)
    said = capsys.readouterr().out
    assert {path.name for path in config.out.iterdir()} == {"scores.json", "categories.csv", "categories.png"}
    scores = json.loads((config.out / "scores.json").read_text())
    assert scores["videos"] == 11
    assert scores["protocol"]["gate"] == "global"
    assert scores["protocol"]["threshold"] == 0.5
    assert list(scores["protocol"]["features"]) == ["sound", "frames", "motion"]
    assert {level: list(kinds) for level, kinds in scores["exclusive"].items()} == {
        level: ["audible_only", "visible_only"] for level in ("segment", "event")
    }
    recorded = trained.runs()[1][0].data.metrics
    assert recorded["test/event/visible_only"] == scores["exclusive"]["event"]["visible_only"]
    for words in (
        "Type@AV", "Visible-only", "gate: global", "thresholds: fixed", "threshold: 0.5", "videos: 11", "sound (raw)",
    ):  # fmt: skip
        assert words in said
    assert "subset: not comparable with the paper (24 of 10,000 train videos, 11 of 1,200 test videos)" in said
    with (config.out / "categories.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["category"] for row in rows] == list(CATEGORIES)
    assert set(rows[0]) == {"category", "audio", "visual", "audio_visual"}
    assert (config.out / "categories.png").read_bytes().startswith(b"\x89PNG")


def test_the_scores_are_those_of_the_saved_parser(trained: Any) -> None:
    config = trained.evaluation(protocol=Protocol(gate="none", threshold=0.4), batch=2)
    evaluate.main(config)
    world = World.from_environment(0)
    features = trained.parser.features
    (split,) = load_splits(trained.shards, Tables.load(trained.tables), ("test",), features, "refuse", world.device)
    world.close()
    expected = judge(Parser.from_pretrained(config.parser), split, config.protocol)
    scores = json.loads((config.out / "scores.json").read_text())
    assert {level: scores[level] for level in expected.scores} == expected.scores


def test_validation_scores_are_those_that_training_wrote(trained: Any) -> None:
    config = trained.evaluation(split="validation")
    evaluate.main(config)
    ours, theirs = (json.loads((folder / "scores.json").read_text()) for folder in (config.out, config.parser))
    assert (ours["segment"], ours["event"]) == (theirs["segment"], theirs["event"])


def test_thresholds_per_class_come_with_the_parser_and_are_told_with_the_scores(
    trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = trained.evaluation(protocol=Protocol(thresholds="per_class"))
    evaluate.main(config)
    told = json.loads((config.out / "scores.json").read_text())["protocol"]
    fitted = Parser.from_pretrained(config.parser).trained_on["thresholds"]
    assert told["fitted"] == fitted
    assert (fitted["split"], fitted["gate"], len(fitted["audio"]), len(fitted["visual"])) == (
        "validation", "global", 25, 25,
    )  # fmt: skip
    assert "thresholds: per_class" in capsys.readouterr().out
    with pytest.raises(Refusal, match="were fitted with the gate 'global', not 'per_modality'"):
        evaluate.main(trained.evaluation("again", protocol=Protocol(thresholds="per_class", gate="per_modality")))
    assert not (trained.work / "again").exists()


def test_thresholds_per_class_are_refused_where_the_parser_brings_none_or_those_of_test(trained: Any) -> None:
    parser = Parser.from_pretrained(trained.work / "parser")
    fitted = parser.trained_on.pop("thresholds")
    for name, added, message in (
        ("none", {}, "it has none: train a parser again"),
        ("test", {"thresholds": fitted | {"split": "test"}}, "the split 'test', not 'validation'"),
    ):
        (trained.work / name).mkdir()
        parser.save(trained.work / name, parser.trained_on | added)
        with pytest.raises(Refusal, match=message):
            evaluate.main(trained.evaluation(parser=trained.work / name, protocol=Protocol(thresholds="per_class")))
        evaluate.main(trained.evaluation(f"fixed {name}", parser=trained.work / name))


def test_training_under_thresholds_per_class_chooses_its_epoch_by_fixed_ones_and_scores_by_its_own(
    corpus: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train.main(corpus.training("fixed"))
    train.main(corpus.training("own", protocol=Protocol(thresholds="per_class")))
    assert "thresholds: per_class" in capsys.readouterr().out
    fixed, own = (Parser.from_pretrained(corpus.work / name) for name in ("fixed", "own"))
    assert fixed.trained_on["thresholds"] == own.trained_on["thresholds"]
    assert all(torch.equal(x, y) for x, y in zip(fixed.parameters(), own.parameters(), strict=True))
    config = corpus.evaluation(
        parser=corpus.work / "own", split="validation", protocol=Protocol(thresholds="per_class")
    )
    evaluate.main(config)
    ours, theirs = (json.loads((folder / "scores.json").read_text()) for folder in (config.out, corpus.work / "own"))
    assert (ours["segment"], ours["exclusive"]) == (theirs["segment"], theirs["exclusive"])


def test_embeddings_of_another_encoder_are_refused(corpus: Any) -> None:
    embeddings = (Feature("pretrained_audio", 6), Feature("pretrained_visual", 6))
    names = corpus.parser.model_copy(update={"audio": ("pretrained_audio",), "visual": ("pretrained_visual",)})
    sets = {split: corpus.keys(split) for split in ("train", "validation", "test")}
    first = corpus.write_shards("first", sets, embeddings, {"encoder": "aaaa"})
    second = corpus.write_shards("second", sets, embeddings, {"encoder": "bbbb"})
    train.main(corpus.training(parser=names, shards=first))
    evaluate.main(corpus.evaluation(shards=first))
    with pytest.raises(
        Refusal, match=r"'pretrained_audio' in .*second.* the encoder 'bbbb' where its training had 'aaaa'"
    ):
        evaluate.main(corpus.evaluation("again", shards=second))
    assert not (corpus.work / "again").exists()


def test_features_of_another_width_or_name_are_refused(trained: Any) -> None:
    test = {"test": trained.keys("test")}
    wide = trained.write_shards("wide", test, (Feature("sound", 9, "raw"), *trained.features[1:]))
    with pytest.raises(Refusal, match=r"'sound' in .* has the width 9 where its training had 6"):
        evaluate.main(trained.evaluation(shards=wide))
    raw = trained.write_shards("raw", test, trained.features[:2])
    with pytest.raises(Refusal, match="'motion' is not in"):
        evaluate.main(trained.evaluation(shards=raw))


def test_missing_test_videos_are_refused_or_skipped_and_counted(
    trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    part = trained.write_shards("part", {"test": trained.keys("test")[:8]})
    with pytest.raises(Refusal, match="3 of 11 are not in"):
        evaluate.main(trained.evaluation(shards=part))
    evaluate.main(trained.evaluation(shards=part, missing="skip"))
    said = capsys.readouterr().out
    assert "missing: 3" in said
    assert "Went on without 3 videos of the tables, which are listed in the run's missing.txt." in said
    client, (run, *_) = trained.runs()
    listed = Path(client.download_artifacts(run.info.run_id, "missing.txt", str(trained.work))).read_text()
    assert listed == "".join(f"test\t{key}\n" for key in trained.keys("test")[8:])
    assert run.data.metrics["missing_videos"] == 3


def test_categories_that_never_occur_are_told_and_change_no_score_and_no_threshold(
    corpus: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = Tables.load(corpus.tables)
    weak = {split: dict.fromkeys(tables.keys(split), (3,) if split == "test" else (0,)) for split in tables.weak}
    spans = {key: (Span(0, 1, 7),) for key in tables.keys("validation")}
    spans |= {key: (Span(3, 1, 7),) for key in tables.keys("test")}
    (corpus.work / "few").mkdir()
    Tables(weak, spans, spans).write(corpus.work / "few")
    protocol = Protocol(gate="none", thresholds="per_class")
    train.main(corpus.training(tables=corpus.work / "few", protocol=protocol))
    evaluate.main(corpus.evaluation(tables=corpus.work / "few", protocol=protocol))
    others = [name for name in CATEGORIES if name != "Speech"]
    assert f"None of them is labelled {', '.join(others)}." in capsys.readouterr().out
    parser = Parser.from_pretrained(corpus.work / "parser")
    assert parser.trained_on["never_labelled"] == others
    assert parser.trained_on["thresholds"]["audio"][1:] == [0.5] * 24
    scores = json.loads((corpus.work / "scores" / "scores.json").read_text())
    assert scores["protocol"]["never_labelled"] == [name for name in CATEGORIES if name != "Dog"]
    with (corpus.work / "scores" / "categories.csv").open() as file:
        rows = {row["category"]: row["audio"] for row in csv.DictReader(file)}
    assert rows["Dog"] != ""
    assert all(value in ("", "0.0") for name, value in rows.items() if name != "Dog"), "predicted or not, never true"


def test_skipped_test_videos_are_counted_and_listed_in_the_run(trained: Any) -> None:
    (bad,) = trained.damage("test", trained.keys("test")[3])
    evaluate.main(trained.evaluation(reading=ReadSettings(on_bad="skip")))
    (line,) = trained.skipped()
    assert bad in line


def test_an_occupied_output_folder_is_refused_before_anything_is_read(corpus: Any) -> None:
    config = corpus.evaluation()
    config.out.mkdir()
    (config.out / "scores.json").write_text("mine")
    with pytest.raises(Refusal, match="holds files"):
        evaluate.main(config)  # there is no parser either
    assert (config.out / "scores.json").read_text() == "mine"


def test_a_run_whose_files_never_reach_their_folder_is_failed(trained: Any, full_disk: None) -> None:
    with pytest.raises(OSError, match="No space left"):
        evaluate.main(trained.evaluation())
    assert {run.data.tags["stage"]: run.info.status for run in trained.runs()[1]} == {
        "evaluate": "FAILED",
        "finetune": "FINISHED",
    }


@pytest.mark.parametrize("lost", ["features", "videos"])
def test_a_parser_that_does_not_say_what_it_was_trained_on_is_refused(trained: Any, lost: str) -> None:
    parser = Parser.from_pretrained(trained.work / "parser")
    folder = trained.work / "bare"
    folder.mkdir()
    parser.save(folder, {name: value for name, value in parser.trained_on.items() if name != lost})
    with pytest.raises(Refusal, match=rf"must say which features .*/bare' does not .*{lost}"):
        evaluate.main(trained.evaluation(parser=folder))


def test_what_was_read_and_written_is_said(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = trained.evaluation()
    evaluate.main(config)
    said = capsys.readouterr().out
    for words in (
        f"Read the parser in '{config.parser}' and the tables in '{trained.tables}'.",
        f"Read 11 test videos from '{trained.shards}/test' (sound, frames, motion;",
        f"Wrote scores.json, categories.csv and categories.png into '{config.out}'.",
    ):
        assert words in said


def test_scores_name_the_tables_they_were_held_to_though_others_than_the_training_had(trained: Any) -> None:
    path = trained.tables / "AVVP_eval_audio.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    config = trained.evaluation()
    evaluate.main(config)
    found = json.loads((config.out / "scores.json").read_text())["protocol"]["tables"]
    assert found == {path.name: sha256_file(path) for path in trained.tables.iterdir()}
    before = Parser.from_pretrained(config.parser).trained_on["tables"]
    assert {name for name in found if found[name] != before[name]} == {"AVVP_eval_audio.csv"}
