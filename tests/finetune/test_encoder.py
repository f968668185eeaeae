"""A parser with an encoder under it trains both, is whole without the encoder's folder, and names its start."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from finetune import train
from finetune.batches import load_splits
from finetune.parser import Parser, ParserSettings
from finetune.recipe import Training
from finetune.trainer import Trainer
from launch.refusal import Refusal
from pretrain.model import ModelSettings, Transformer, describe_encoder, save_encoder
from shards.labels import Tables
from shards.schema import Feature

WIDTHS = {"sound": 6, "frames": 10, "motion": 4}
MODEL = ModelSettings(audio=("sound",), visual=("frames", "motion"), layers=2, width=8, heads=2, dropout=0.1)
CPU = torch.device("cpu")
EMBEDDED = (Feature("pretrained_audio", 8, "layer_norm"), Feature("pretrained_visual", 8, "layer_norm"))


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """The folder of a small encoder of the tiny corpus's features."""
    return written(tmp_path / "encoder", MODEL, WIDTHS)


def written(folder: Path, model: ModelSettings, widths: dict[str, int], variant: str = "raw", seed: int = 0) -> Path:
    torch.manual_seed(seed)
    variants = {name: variant if name == "sound" else "" for name in widths}
    save_encoder(folder, Transformer(model, widths).state_dict(), model, widths, {"variants": variants})
    return folder


def over(corpus: Any, encoder: Path, **values: Any) -> ParserSettings:
    return corpus.parser.model_copy(update={"encoder": encoder, **values})


def features(videos: int = 5) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(videos, 10, width) for name, width in WIDTHS.items()}


@pytest.mark.parametrize("short", [False, True])
@torch.no_grad()
def test_the_parser_reads_what_the_encoder_under_it_gives(corpus: Any, encoder: Path, short: bool) -> None:
    module = Transformer(MODEL, WIDTHS).eval()
    with_it = Parser(over(corpus, encoder), WIDTHS, module).eval()
    embedded = ParserSettings(audio=("audio",), visual=("visual",), width=16, hidden=16)
    without = Parser(embedded, {"audio": 8, "visual": 8}).eval()
    own = {name: value for name, value in with_it.state_dict().items() if not name.startswith("encoder.")}
    without.load_state_dict(own)
    present = torch.arange(10) < torch.tensor([10, 4, 10, 1, 7])[:, None] if short else None
    both = None if present is None else torch.stack([present, present], dim=1)
    audio, visual = module(features(), both)
    found, expected = with_it(features(), present), without({"audio": audio, "visual": visual}, present)
    assert torch.equal(found.seconds, expected.seconds)
    assert torch.equal(found.video, expected.video)


def test_training_moves_the_encoder_and_the_saved_parser_needs_no_other_folder(corpus: Any, encoder: Path) -> None:
    digest = describe_encoder(encoder).digest
    train.main(corpus.training(parser=over(corpus, encoder, gcaa=True)))
    shutil.rmtree(encoder)
    parser = Parser.from_pretrained(corpus.work / "parser")
    assert parser.encoder is not None
    torch.manual_seed(0)
    before = Transformer(MODEL, WIDTHS)  # as `written` draws it
    moved = [not torch.equal(x, y) for x, y in zip(before.parameters(), parser.encoder.parameters(), strict=True)]
    assert all(moved)
    assert parser.trained_on["encoder"] == digest
    assert parser(features()).video.shape == (5, 25)
    assert parser.settings.encoder == Path(encoder.name)


def test_a_parser_without_an_encoder_names_none(corpus: Any) -> None:
    train.main(corpus.training())
    assert Parser.from_pretrained(corpus.work / "parser").trained_on["encoder"] == ""


def test_the_encoder_has_a_learning_rate_of_its_own_that_falls_with_the_parsers(corpus: Any, encoder: Path) -> None:
    recipe = Training(epochs=3, batch=24, learning_rate=0.1, encoder_learning_rate=0.01, decay_every=1)
    config = corpus.training(parser=over(corpus, encoder, adversarial=True), training=recipe)
    (split,) = load_splits(corpus.shards, Tables.load(corpus.tables), ("train",), config.parser.features, "refuse", CPU)
    trainer = Trainer.new(config, split, CPU, Transformer(MODEL, WIDTHS))
    own, under = trainer.optimizer.param_groups
    assert (own["lr"], under["lr"]) == (0.1, 0.01)
    assert trainer.parser.encoder is not None
    assert [id(one) for one in under["params"]] == [id(one) for one in trainer.parser.encoder.parameters()]
    every = [*trainer.parser.parameters(), *trainer.objective.parameters()]
    assert {id(one) for one in own["params"] + under["params"]} == {id(one) for one in every}
    assert (recipe.decayed(0.1, 3), recipe.decayed(0.01, 3)) == (0.025, 0.0025)


@pytest.mark.parametrize(
    ("model", "widths", "variant", "found"),
    [
        ({"visual": ("frames",)}, {"sound": 6, "frames": 10}, "raw", "parser.visual is frames, motion and .* reads fr"),
        ({}, WIDTHS | {"frames": 11}, "raw", "'frames' is 10 wide and '' in the shards, and 11 wide and '' in"),
        ({}, WIDTHS, "quantised", "'sound' is 6 wide and 'raw' in the shards, and 6 wide and 'quantised' in"),
    ],
)
def test_an_encoder_of_other_features_is_refused(
    corpus: Any, tmp_path: Path, model: Any, widths: Any, variant: str, found: str
) -> None:
    folder = written(tmp_path / "other", MODEL.model_copy(update=model), widths, variant)
    with pytest.raises(Refusal, match=found):
        train.main(corpus.training(parser=over(corpus, folder)))


def test_a_folder_without_an_encoder_is_refused(corpus: Any, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="give the `encoder` folder that pretrain wrote"):
        train.main(corpus.training(parser=over(corpus, tmp_path / "nowhere")))


def embedded(corpus: Any, by: str) -> dict[str, Any]:
    """Settings that read embeddings of this encoder."""
    videos = {split: corpus.keys(split) for split in ("train", "validation")}
    shards = corpus.write_shards("embedded", videos, EMBEDDED, {"encoder": by} if by else None)
    parser = corpus.parser.model_copy(update={"audio": ("pretrained_audio",), "visual": ("pretrained_visual",)})
    return {"shards": shards, "parser": parser}


def test_embeddings_of_the_named_encoder_are_taken_by_folder_and_by_digest(corpus: Any, encoder: Path) -> None:
    digest = describe_encoder(encoder).digest
    given = embedded(corpus, digest)
    train.main(corpus.training("one", **given, exported_by=str(encoder)))
    train.main(corpus.training("two", **given, exported_by=digest[:12]))
    assert Parser.from_pretrained(corpus.work / "two").trained_on["features"]["pretrained_audio"]["encoder"] == digest


@pytest.mark.parametrize(("by", "found"), [("beef" * 16, "the encoder beefbeefbeef"), ("", "none")])
def test_embeddings_of_another_encoder_than_the_settings_name_are_refused(
    corpus: Any, encoder: Path, by: str, found: str
) -> None:
    named = describe_encoder(encoder).digest[:12]
    with pytest.raises(Refusal, match=rf"by the encoder that exported_by names, which is {named}, but .* by {found}"):
        train.main(corpus.training(**embedded(corpus, by), exported_by=str(encoder)))


@pytest.mark.parametrize("named", ["nowhere/encoder", "beef"])
def test_what_names_no_encoder_is_refused(corpus: Any, named: str) -> None:
    with pytest.raises(Refusal, match=rf"named by its folder, or by the first 8 .* but exported_by is '{named}'"):
        train.main(corpus.training(**embedded(corpus, "beef" * 16), exported_by=named))
