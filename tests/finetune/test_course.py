"""The course of a training: it learns, keeps its best epoch, and goes on bit for bit where it was stopped."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune import train
from finetune.batches import load_splits
from finetune.cleaning.cleaner import Cleaning
from finetune.cleaning.exchange import Exchange
from finetune.course import Diverged, fit, run_epoch
from finetune.recipe import Training
from finetune.saved import Saved
from finetune.scoring.protocol import Judgement
from finetune.trainer import Trainer, better
from launch.preemption import Stopped
from launch.refusal import Refusal
from launch.tracking import Record
from shards.labels import Tables
from tests.finetune.cleaning.world import write_pseudo

CPU = torch.device("cpu")
FULL = {"adversarial": True, "skip": True, "gcaa": True}
LONG = Training(epochs=4, batch=8, record_every=2, learning_rate=3e-3, decay_every=2)
"""Twelve steps on the training videos of the tiny corpus."""
QUICK = Exchange(batch=8)


def option(corpus: Any, **values: Any) -> Any:
    return corpus.parser.model_copy(update=values)


def splits(corpus: Any) -> list[Any]:
    tables = Tables.load(corpus.tables)
    return load_splits(corpus.shards, tables, ("train", "validation"), corpus.parser.features, "refuse", CPU)


def test_training_learns_the_training_videos(corpus: Any) -> None:
    loaded = splits(corpus)
    recipe = Training(epochs=100, batch=8, learning_rate=5e-3, decay_every=100)
    trainer = Trainer.new(corpus.training(training=recipe), loaded[0], CPU)
    means = [run_epoch(trainer, loaded[0], Record(None)) for _ in range(100)]
    assert means[-1]["video"] < 0.3 * means[0]["video"]
    assert trainer.step == trainer.steps == 300
    trainer.parser.eval()
    batch = next(loaded[0].in_order(24))
    found = trainer.parser(batch.features).video > 0.5
    assert (found == batch.labels.bool()).float().mean() > 0.97


def test_the_discriminator_is_trained_along_and_not_saved(corpus: Any) -> None:
    loaded = splits(corpus)
    config = corpus.training(parser=option(corpus, **FULL))
    trainer = Trainer.new(config, loaded[0], CPU)
    before = [parameter.detach().clone() for parameter in trainer.objective.parameters()]
    run_epoch(trainer, loaded[0], Record(None))
    after = list(trainer.objective.parameters())
    assert before
    assert any(not torch.equal(x, y) for x, y in zip(before, after, strict=True))
    train.main(config)
    assert not any("discriminator" in name for name in load_file(config.out / "parser.safetensors"))


def test_the_learning_rate_falls_by_its_factor_every_few_epochs(corpus: Any) -> None:
    loaded = splits(corpus)
    recipe = Training(epochs=5, batch=24, learning_rate=0.1, decay=0.5, decay_every=2)
    trainer, rates = Trainer.new(corpus.training(training=recipe), loaded[0], CPU), []
    for _ in range(5):
        run_epoch(trainer, loaded[0], Record(None))
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025]


def test_the_first_of_the_best_epochs_is_kept() -> None:
    best, parser = None, torch.nn.Linear(1, 1)
    for epoch, score in enumerate((3.0, 5.0, 5.0, 4.0), start=1):
        with torch.no_grad():
            parser.weight.fill_(epoch)
        best = better(best, epoch, Judgement({"segment": {"type_at_av": score}}, {}, 1), parser)
    assert best is not None
    assert (best.epoch, best.type_at_av, best.weights["weight"].item()) == (2, 5.0, 2.0)


@pytest.mark.parametrize("options", [{"architecture": "han"}, FULL])
def test_bfloat16_is_for_the_products_alone(corpus: Any, options: Any) -> None:
    (split, _) = splits(corpus)
    found = {}
    for precision in ("float32", "bfloat16"):
        recipe = corpus.training(parser=option(corpus, **options), training=Training(epochs=1, precision=precision))
        trainer = Trainer.new(recipe, split, CPU)
        batch = next(split.in_order(24))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            parsed = trainer.parser.eval()(batch.features)
        assert {value.dtype for value in vars(parsed).values() if value is not None} == {torch.float32}
        parts = trainer.descend(batch)
        assert {value.dtype for value in parts.values()} == {torch.float32}
        assert {parameter.dtype for parameter in trainer.parser.parameters()} == {torch.float32}
        found[precision] = parsed.video, parts["loss"]
    for one, two in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0.02, atol=0.02)
        assert not torch.equal(one, two)


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
        train.main(corpus.training("again", parser=option(corpus, **FULL), training=LONG, **values))


def kill(trainer: Trainer) -> None:
    raise Kill


def ask(trainer: Trainer) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("how", "end", "left"), [(kill, Kill, 6), (ask, Stopped, 8)])
def test_a_training_that_goes_on_ends_as_one_that_never_stopped_bit_for_bit(
    corpus: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: Any, end: Any, left: int
) -> None:
    train.main(corpus.training("whole", parser=option(corpus, **FULL), training=LONG))
    with pytest.raises(end):
        stopped(corpus, monkeypatch, 8, how)  # of 12, in the third of 4 epochs
    assert not (corpus.work / "again").exists()
    torch.manual_seed(7)  # whatever state the generator is in
    train.main(corpus.training("again", parser=option(corpus, **FULL), training=LONG))
    assert f"Going on after step {left} of 12" in capsys.readouterr().out
    assert not (corpus.work / ".again.part").exists()
    one, two = ((corpus.work / out / "parser.safetensors").read_bytes() for out in ("whole", "again"))
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
    train.main(corpus.training("again", parser=option(corpus, **FULL), training=LONG))
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
        train.main(corpus.training("again", parser=option(corpus, **FULL), training=other))
    (corpus.tables / "AVVP_val_pd.csv").open("a").write("\n")
    with pytest.raises(Refusal, match=r"with another tables/AVVP_val_pd\.csv: "):
        train.main(corpus.training("again", parser=option(corpus, **FULL), training=LONG))
    train.main(corpus.training("again", parser=option(corpus, **FULL), training=other, replace=True))
    assert (corpus.work / "again" / "parser.safetensors").exists()


def test_a_state_that_was_altered_is_refused(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stopped):
        stopped(corpus, monkeypatch, 8, ask)
    (state,) = corpus.work.glob(".again.part/*/notes/state.json")
    state.write_text(state.read_text().replace('"step": 8', '"step": 9'))
    with pytest.raises(Refusal, match="must go on from its state as it was written"):
        train.main(corpus.training("again", parser=option(corpus, **FULL), training=LONG))


def test_a_training_of_bfloat16_goes_on_bit_for_bit_too(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.LONG", LONG.model_copy(update={"precision": "bfloat16"}))
    train.main(corpus.training("whole", parser=option(corpus, **FULL), training=LONG))
    with pytest.raises(Stopped):
        stopped(corpus, monkeypatch, 5, ask)
    train.main(corpus.training("again", parser=option(corpus, **FULL), training=LONG))
    one, two = ((corpus.work / out / "parser.safetensors").read_bytes() for out in ("whole", "again"))
    assert one == two


@pytest.mark.parametrize(
    "cleaning",
    [
        Cleaning(labels="exchange", exchange=QUICK, average=0.9, seconds="average", balance=0.5, mixup=1.0),
        Cleaning(exchange=QUICK, denoise=True),
    ],
    ids=["taught", "denoised"],
)
def test_a_training_on_cleaned_labels_goes_on_bit_for_bit_and_estimates_them_once(
    corpus: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cleaning: Cleaning
) -> None:
    train.main(corpus.training("whole", parser=option(corpus, **FULL), training=LONG, cleaning=cleaning))
    with pytest.raises(Kill):
        stopped(corpus, monkeypatch, 8, kill, cleaning=cleaning)
    train.main(corpus.training("again", parser=option(corpus, **FULL), training=LONG, cleaning=cleaning))
    assert capsys.readouterr().out.count("labels an estimated") == 2
    one, two = ((corpus.work / out / "parser.safetensors").read_bytes() for out in ("whole", "again"))
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
        train.main(corpus.training("again", parser=option(corpus, **FULL), training=LONG, cleaning=cleaning))


def test_states_are_saved_as_often_as_asked(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, seen = splits(corpus), []
    recipe = corpus.training(training=LONG.model_copy(update={"keep_every": 3}))
    trainer, saved = Trainer.new(recipe, loaded[0], CPU), Saved(corpus.work)
    monkeypatch.setattr(saved, "write", lambda state: seen.append(state.numbers["step"]))
    fit(trainer, *loaded, Record(None), saved, lambda: False)
    assert seen == [9, 12]


def test_a_training_that_diverges_leaves_no_state_to_diverge_from(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(trainer: Trainer) -> None:
        trainer.totals["loss"] = torch.tensor(torch.nan)

    with pytest.raises(Diverged):
        stopped(corpus, monkeypatch, 8, spoil)
    assert {path.name for path in corpus.work.iterdir()} == {"shards", "tables"}
