"""A training that was stopped goes on bit for bit, whatever it learns from, or says why it cannot."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from finetune import train
from finetune.cleaning import exchange
from finetune.cleaning.cleaner import Cleaning
from finetune.cleaning.exchange import Exchange
from finetune.losses import Diverged
from finetune.recipe import Training
from finetune.trainer import Trainer
from launch.preemption import Stopped
from launch.refusal import Refusal
from pretrain.model import ModelSettings, Transformer, save_encoder
from shards.labels import Tables
from tests.finetune.cleaning.world import write_pseudo

FULL = {"adversarial": True, "skip": True, "gcaa": True}
LONG = Training(epochs=4, batch=8, record_every=2, learning_rate=3e-3, decay_every=2)
"""Twelve steps on the training videos of the tiny corpus."""
QUICK = Exchange(batch=8)
TAUGHT = Cleaning(labels="exchange", exchange=QUICK, average=0.9, seconds="average", balance=0.5, mixup=1.0)


def training(corpus: Any, out: str, **values: Any) -> train.Config:
    """Settings of a long training of the full model; `under`: its encoder."""
    parser = corpus.parser.model_copy(update={**FULL, "encoder": values.pop("under", None)})
    made: train.Config = corpus.training(out, **{"parser": parser, "training": LONG} | values)
    return made


def files(corpus: Any, name: str) -> list[bytes]:
    return [(corpus.work / out / name).read_bytes() for out in ("whole", "again")]


class Kill(BaseException):
    """A death that no handler of the stage's expects."""


def stopped(
    corpus: Any, monkeypatch: pytest.MonkeyPatch, step: int, how: Callable[[Trainer], None], **values: Any
) -> None:
    """Runs the training of `out` "again" until `how` happens after a step."""
    descend = Trainer.descend

    def watched(trainer: Trainer, batch: Any) -> Any:
        parts = descend(trainer, batch)
        if trainer.step == step:
            how(trainer)
        return parts

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "descend", watched)
        train.main(training(corpus, "again", **values))


def kill(_: Any) -> None:
    raise Kill


def ask(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("how", "end", "left"), [(kill, Kill, 6), (ask, Stopped, 8)])
def test_a_training_that_goes_on_ends_as_one_that_never_stopped_bit_for_bit(
    corpus: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: Any, end: Any, left: int
) -> None:
    train.main(training(corpus, "whole"))
    with pytest.raises(end):
        stopped(corpus, monkeypatch, 8, how)  # of 12, in the third of 4 epochs
    assert not (corpus.work / "again").exists()
    torch.manual_seed(7)  # whatever state the generator is in
    train.main(training(corpus, "again"))
    assert f"Going on after step {left} of 12" in capsys.readouterr().out
    assert not (corpus.work / ".again.part").exists()
    one, two = files(corpus, "parser.safetensors")
    assert one == two
    scores = [json.loads((corpus.work / out / "scores.json").read_text()) for out in ("whole", "again")]
    assert scores[0] == scores[1]


def test_a_training_that_goes_on_is_the_same_run_with_every_point_of_its_curves(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stopped):
        stopped(corpus, monkeypatch, 8, ask)
    client, (run,) = corpus.runs()
    assert run.info.status == "KILLED"
    train.main(training(corpus, "again"))
    client, (run,) = corpus.runs()
    assert run.info.status == "FINISHED"
    points = {name: client.get_metric_history(run.info.run_id, name) for name in ("step/loss", "epoch/loss")}
    assert [point.step for point in points["step/loss"]] == [2, 4, 6, 8, 10, 12]
    assert [point.step for point in points["epoch/loss"]] == [1, 2, 3, 4]


def test_a_stopped_training_is_not_gone_on_with_under_other_settings(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stopped):
        stopped(corpus, monkeypatch, 8, ask)
    other = LONG.model_copy(update={"decay": 0.3, "record_every": 5})
    with pytest.raises(Refusal, match=r"finished as it was begun.*with another training\.decay: .*--replace True"):
        train.main(training(corpus, "again", training=other))
    (corpus.tables / "AVVP_val_pd.csv").open("a").write("\n")
    with pytest.raises(Refusal, match=r"with another tables/AVVP_val_pd\.csv: "):
        train.main(training(corpus, "again"))
    train.main(training(corpus, "again", training=other, replace=True))
    assert (corpus.work / "again" / "parser.safetensors").exists()


def test_a_job_that_is_queued_again_goes_on_with_what_it_began_though_it_may_replace(
    corpus: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Stopped):
        stopped(corpus, monkeypatch, 8, ask, replace=True)
    monkeypatch.setenv("LAUNCH_RESTARTS", "1")
    train.main(training(corpus, "again", replace=True))
    assert "Going on after step 8 of 12" in capsys.readouterr().out


def test_a_state_that_was_altered_is_refused(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stopped):
        stopped(corpus, monkeypatch, 8, ask)
    (state,) = corpus.work.glob(".again.part/*/notes/state.json")
    state.write_text(state.read_text().replace('"step": 8', '"step": 9'))
    with pytest.raises(Refusal, match="must go on from its state as it was written"):
        train.main(training(corpus, "again"))


def test_a_training_of_bfloat16_goes_on_bit_for_bit_too(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.LONG", LONG.model_copy(update={"precision": "bfloat16"}))
    train.main(training(corpus, "whole"))
    with pytest.raises(Stopped):
        stopped(corpus, monkeypatch, 5, ask)
    train.main(training(corpus, "again"))
    one, two = files(corpus, "parser.safetensors")
    assert one == two


@pytest.mark.parametrize("cleaning", [TAUGHT, Cleaning(exchange=QUICK, denoise=True)], ids=["taught", "denoised"])
def test_a_training_on_cleaned_labels_goes_on_bit_for_bit_and_estimates_them_once(
    corpus: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cleaning: Cleaning
) -> None:
    train.main(training(corpus, "whole", cleaning=cleaning))
    with pytest.raises(Kill):
        stopped(corpus, monkeypatch, 8, kill, cleaning=cleaning)
    train.main(training(corpus, "again", cleaning=cleaning))
    assert capsys.readouterr().out.count("labels an estimated") == 2
    one, two = files(corpus, "parser.safetensors")
    assert one == two


def test_so_does_one_with_an_encoder_under_the_parser(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    widths, under = {"sound": 6, "frames": 10, "motion": 4}, corpus.work / "encoder"
    model = ModelSettings(audio=("sound",), visual=("frames", "motion"), layers=1, width=8, heads=2, dropout=0.1)
    torch.manual_seed(0)
    save_encoder(under, Transformer(model, widths).state_dict(), model, widths, {"variants": {"sound": "raw"}})
    train.main(training(corpus, "whole", under=under, cleaning=TAUGHT))
    with pytest.raises(Stopped):
        stopped(corpus, monkeypatch, 8, ask, under=under, cleaning=TAUGHT)
    train.main(training(corpus, "again", under=under, cleaning=TAUGHT))
    one, two = files(corpus, "parser.safetensors")
    assert one == two


def test_a_request_while_labels_are_estimated_stops_at_once_and_the_command_starts_that_again(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, learnt = list[int](), exchange.Average.follow

    def follow(average: Any, parser: Any) -> None:
        learnt(average, parser)
        steps.append(len(steps))
        if len(steps) == 2:  # of 4
            ask(parser)

    with monkeypatch.context() as patch:
        patch.setattr(exchange.Average, "follow", follow)
        with pytest.raises(Stopped) as stop:
            train.main(training(corpus, "again", cleaning=TAUGHT))
    assert "while labels were estimated" in stop.value.sentence
    assert len(steps) == 2
    assert {path.name for path in corpus.work.iterdir()} == {"shards", "tables"}
    assert [run.info.status for run in corpus.runs()[1]] == ["KILLED"]
    for out in ("whole", "again"):
        train.main(training(corpus, out, cleaning=TAUGHT))
    one, two = files(corpus, "parser.safetensors")
    assert one == two


def test_pseudo_labels_are_read_and_others_are_another_training(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Tables.load(corpus.tables).keys("train")
    cleaning = Cleaning(pseudo=corpus.work / "pseudo", labels="pseudo", seconds="pseudo")
    with pytest.raises(Refusal, match="Every training video must have pseudo-labels"):
        train.main(corpus.training(cleaning=cleaning))
    write_pseudo(corpus.work / "pseudo", keys)
    with pytest.raises(Stopped):
        stopped(corpus, monkeypatch, 8, ask, cleaning=cleaning)
    shutil.rmtree(corpus.work / "pseudo")
    write_pseudo(corpus.work / "pseudo", keys, seed=1)
    with pytest.raises(Refusal, match=r"with another cleaning\.pseudo: "):
        train.main(training(corpus, "again", cleaning=cleaning))


def test_a_training_that_diverges_leaves_no_state_to_diverge_from(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(trainer: Trainer) -> None:
        trainer.totals["loss"] = torch.tensor(torch.nan)

    with pytest.raises(Diverged):
        stopped(corpus, monkeypatch, 8, spoil)
    assert {path.name for path in corpus.work.iterdir()} == {"shards", "tables"}
