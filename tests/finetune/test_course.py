"""The course of a training: it learns, its rate falls, and it keeps its best epoch."""

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune import train
from finetune.batches import load_splits
from finetune.course import fit, run_epoch
from finetune.recipe import Training
from finetune.saved import Saved
from finetune.scoring.protocol import Judgement
from finetune.trainer import Trainer, better
from launch.tracking import Record
from shards.labels import Tables

CPU = torch.device("cpu")
FULL = {"adversarial": True, "skip": True, "gcaa": True}


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


def test_states_are_saved_as_often_as_asked(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, seen = splits(corpus), []
    recipe = corpus.training(training=Training(epochs=4, batch=8, keep_every=3))
    trainer, saved = Trainer.new(recipe, loaded[0], CPU), Saved(corpus.work)
    monkeypatch.setattr(saved, "write", lambda state: seen.append(state.numbers["step"]))
    fit(trainer, *loaded, Record(None), saved, lambda: False)
    assert seen == [9, 12]
