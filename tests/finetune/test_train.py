"""Training: deterministic, learns, keeps its best epoch, and says what it did in files and in MLflow."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune import train
from finetune.cleaning.cleaner import Cleaning
from finetune.cleaning.outside import digest
from finetune.parser import Parser
from finetune.recipe import Training
from finetune.scoring.metrics import KINDS, LEVELS
from launch.digest import sha256_file
from launch.refusal import Refusal
from pretrain.model import ModelSettings, Transformer, save_encoder
from shards.labels import Tables
from shards.read import ReadSettings, Shards
from tests.finetune.cleaning.world import write_pseudo

FULL = {"adversarial": True, "skip": True, "gcaa": True}


def option(corpus: Any, **values: Any) -> Any:
    return corpus.parser.model_copy(update=values)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "parser.safetensors")


@pytest.mark.parametrize("options", [{"architecture": "han"}, FULL])
def test_the_same_seed_gives_the_same_parameters_bit_for_bit(corpus: Any, options: Any) -> None:
    for out in ("one", "two"):
        train.main(corpus.training(out, parser=option(corpus, **options)))
    train.main(corpus.training("other", parser=option(corpus, **options), seed=1))
    one, two, other = (weights(corpus.work / out) for out in ("one", "two", "other"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert json.loads((corpus.work / "one/scores.json").read_text()) == json.loads(
        (corpus.work / "two/scores.json").read_text()
    )


def test_the_run_folder_holds_the_parser_what_it_was_trained_on_and_its_scores(corpus: Any) -> None:
    config = corpus.training()
    train.main(config)
    files = {"parser.safetensors", "settings.json", "scores.json", "MODEL_CARD.md"}
    assert {path.name for path in config.out.iterdir()} == files
    parser = Parser.from_pretrained(config.out)
    assert parser.settings == config.parser
    for split in ("train", "validation"):
        assert parser.trained_on["manifests"][split] == Shards.open(corpus.shards / split).manifest.digest
    assert parser.trained_on["features"]["sound"] == {"width": 6, "variant": "raw", "encoder": ""}
    assert parser.trained_on["videos"] == {"train": 24, "validation": 9}
    scores = json.loads((config.out / "scores.json").read_text())
    assert scores["videos"] == 9
    assert [list(scores[level]) for level in LEVELS] == [list(KINDS)] * 2
    assert scores["protocol"]["gate"] == "global"


def test_curves_of_the_loss_and_scores_of_every_epoch_are_recorded(corpus: Any) -> None:
    train.main(corpus.training(parser=option(corpus, **FULL)))
    client, (run,) = corpus.runs()
    assert run.info.status == "FINISHED"
    points = {name: len(client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics}
    assert points["step/adversarial"] == points["step/loss"] == 3  # six steps, every second one
    assert points["epoch/guided"] == points["validation/segment/type_at_av"] == 2
    assert {item.path for item in client.list_artifacts(run.info.run_id)} >= {"parser.safetensors", "scores.json"}


def test_skipped_videos_of_both_splits_are_counted_and_listed_in_the_run(corpus: Any, tmp_path: Path) -> None:
    bad = [
        *corpus.damage("train", *corpus.keys("train")[4:6]),
        *corpus.damage("validation", *corpus.keys("validation")[:1]),
    ]
    train.main(corpus.training(reading=ReadSettings(on_bad="skip")))
    assert len(corpus.skipped()) == 3
    assert all(any(key in line for line in corpus.skipped()) for key in bad)


def test_a_loss_that_is_not_a_number_stops_with_a_sentence_and_leaves_nothing(corpus: Any) -> None:
    recipe = Training(epochs=2, batch=8, learning_rate=1e30, record_every=1)
    config = corpus.training(training=recipe)
    with pytest.raises(Refusal, match=r"must stay a finite number.*epoch 1.*learning_rate"):
        train.main(config)
    assert not config.out.exists()


def test_an_output_folder_with_files_is_refused_before_anything_is_read_unless_it_may_be_replaced(corpus: Any) -> None:
    config = corpus.training()
    config.out.mkdir()
    (config.out / "scores.json").write_text("mine")
    with pytest.raises(Refusal, match="holds files"):
        train.main(
            config.model_copy(update={"shards": str(corpus.work / "nowhere"), "tables": corpus.work / "nowhere"})
        )
    assert (config.out / "scores.json").read_text() == "mine"
    train.main(corpus.training(replace=True))
    assert (config.out / "scores.json").read_text() != "mine"


def test_a_run_whose_files_never_reach_their_folder_is_failed(corpus: Any, full_disk: None) -> None:
    with pytest.raises(OSError, match="No space left"):
        train.main(corpus.training())
    assert [run.info.status for run in corpus.runs()[1]] == ["FAILED"]


def test_what_was_read_and_written_is_said(corpus: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = corpus.training()
    train.main(config)
    said = capsys.readouterr().out
    for words in (
        f"Read the tables in '{corpus.tables}'.",
        f"Read 24 train videos from '{corpus.shards}/train' (sound, frames, motion;",
        f"Read 9 validation videos from '{corpus.shards}/validation' (sound, frames, motion;",
        f"Wrote parser.safetensors, settings.json, scores.json and MODEL_CARD.md into '{config.out}'.",
    ):
        assert words in said


def test_the_parser_and_its_scores_name_the_tables_they_were_made_with(corpus: Any) -> None:
    config = corpus.training()
    train.main(config)
    tables = {path.name: sha256_file(path) for path in corpus.tables.iterdir()}
    assert len(tables) == 6
    assert Parser.from_pretrained(config.out).trained_on["tables"] == tables
    assert json.loads((config.out / "scores.json").read_text())["protocol"]["tables"] == tables


def test_no_place_of_the_machine_is_in_what_is_written(corpus: Any) -> None:
    keys = Tables.load(corpus.tables).keys("train")
    pseudo = write_pseudo(corpus.work / "pseudo", keys)
    widths, under = {feature.name: feature.width for feature in corpus.features}, corpus.work / "an encoder"
    model = ModelSettings(audio=("sound",), visual=("frames", "motion"), layers=1, width=8, heads=2)
    save_encoder(under, Transformer(model, widths).state_dict(), model, widths, {"variants": {"sound": "raw"}})
    cleaning = Cleaning(pseudo=corpus.work / "pseudo", labels="pseudo")
    reading = ReadSettings(cache=corpus.work / "cache")
    config = corpus.training(cleaning=cleaning, parser=option(corpus, encoder=under), reading=reading)
    train.main(config)
    for path in config.out.iterdir():
        assert str(corpus.work).encode() not in path.read_bytes()
    told = Parser.from_pretrained(config.out).trained_on
    assert told["pseudo"] == digest(pseudo)
    assert told["settings"]["cleaning"]["labels"] == "pseudo"
    assert told["settings"]["training"]["epochs"] == 2


def test_several_processes_are_refused(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two:
        size = 2

        def close(self) -> None:
            pass

    monkeypatch.setattr(train.World, "from_environment", lambda seed: Two())
    with pytest.raises(Refusal, match="one process"):
        train.main(corpus.training())
