"""A modality is looked at beside that of unrelated videos, by a parser that did not learn from its video."""

import copy
from pathlib import Path

import pytest
import torch

from finetune.cleaning import exchange
from finetune.cleaning.exchange import Exchange, Making, estimate, exchanged, unrelated
from finetune.cleaning.posterior import posterior
from finetune.losses import Diverged
from finetune.parser import Parser
from launch.refusal import Refusal
from pretrain.model import ModelSettings, Transformer
from tests.finetune.cleaning.world import COUNT, SETTINGS, make_parser, world

QUICK = Exchange(epochs=12, batch=16, learning_rate=3e-3)


def test_a_modality_stays_and_the_other_comes_from_the_partner() -> None:
    split, _ = world(8)
    own, partner = split.batch(torch.arange(4)), split.batch(torch.arange(4, 8))
    heard, seen = exchanged(make_parser(), own, partner)
    assert torch.equal(heard.features["sound"], own.features["sound"])
    assert torch.equal(heard.features["frames"], partner.features["frames"])
    assert torch.equal(seen.features["frames"], own.features["frames"])
    assert torch.equal(seen.features["sound"], partner.features["sound"])


def test_partners_share_no_label_where_that_can_be() -> None:
    split, _ = world(200)
    rows = torch.arange(20, 180)
    partner = unrelated(rows, split.labels, torch.Generator().manual_seed(0))
    assert ((split.labels[rows] * split.labels[partner]).sum(dim=1) == 0).all()
    assert set(partner.tolist()) <= set(rows.tolist())
    everywhere = torch.ones(8, 3)
    assert len(unrelated(torch.arange(8), everywhere, torch.Generator().manual_seed(0))) == 8


def test_no_video_is_looked_at_by_a_parser_that_learnt_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    split, _ = world(21)
    learnt, looked_at = [], []

    def learn(train, rows, making, *_):  # type: ignore[no-untyped-def]
        learnt.append(set(rows.tolist()))
        return making.make()

    def look(parser, train, rows, *_):  # type: ignore[no-untyped-def]
        looked_at.append(set(rows.tolist()))
        return torch.zeros(2, len(rows), train.labels.shape[1])

    monkeypatch.setattr(exchange, "_learn", learn)
    monkeypatch.setattr(exchange, "_look", look)
    estimate(split, Making(make_parser), Exchange(folds=3), seed=0)
    assert sorted(row for rows in looked_at for row in rows) == list(range(21))
    assert all(not one & other and len(one) == 14 for one, other in zip(learnt, looked_at, strict=True))


def test_labels_that_hold_in_a_modality_are_told_from_those_that_do_not() -> None:
    split, true = world(600)
    likely = posterior(estimate(split, Making(make_parser), QUICK, seed=0), split.labels, unlikely=0.7)
    for modality in range(2):
        held = true[modality] & (split.labels > 0)
        against = ~true[modality] & (split.labels > 0)
        kept, dropped = likely[modality][held].mean().item(), likely[modality][against].mean().item()
        assert kept > 0.8
        assert dropped < 0.3


def test_the_same_seed_gives_the_same_estimate_bit_for_bit() -> None:
    split, _ = world(60)
    one, two, other = (estimate(split, Making(make_parser), Exchange(batch=16), seed) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_an_encoder_under_the_parser_moves_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    split, _ = world(20)
    widths = {"sound": COUNT, "frames": COUNT}
    model = ModelSettings(audio=("sound",), visual=("frames",), layers=1, width=8, heads=2, dropout=0.0)
    settings, encoder = SETTINGS.model_copy(update={"encoder": Path("encoder")}), Transformer(model, widths)
    looks, before = [], {name: value.clone() for name, value in encoder.state_dict().items()}

    def look(parser, train, rows, *_):  # type: ignore[no-untyped-def]
        looks.append(parser)
        return torch.zeros(2, len(rows), COUNT)

    monkeypatch.setattr(exchange, "_look", look)
    for rate in (0.0, 1e-3):
        making = Making(lambda: Parser(settings, widths, copy.deepcopy(encoder)), encoder_learning_rate=rate)
        estimate(split, making, Exchange(batch=5), seed=0)
        for parser in looks:
            assert parser.encoder is not None
            kept = {name: torch.equal(value, before[name]) for name, value in parser.encoder.state_dict().items()}
            assert all(kept.values()) if rate == 0 else not any(kept.values())
        looks.clear()


def test_a_parser_that_diverges_is_refused_and_its_learning_rate_named() -> None:
    split, _ = world(40)
    with pytest.raises(
        Diverged, match=r"finite numbers, but a parser of fold 1 of 2 .*exchange\.learning_rate \(now 1e"
    ):
        estimate(split, Making(make_parser), Exchange(batch=5, learning_rate=1e30), seed=0)


def test_fewer_videos_than_folds_are_refused() -> None:
    split, _ = world(3)
    assert estimate(split, Making(make_parser), Exchange(folds=3), seed=0).isfinite().all()
    with pytest.raises(Refusal, match=r"there are 3 training videos for 4 folds: lower cleaning\.exchange\.folds"):
        estimate(split, Making(make_parser), Exchange(folds=4), seed=0)


def test_what_is_called_between_steps_and_looks_may_end_it() -> None:
    split, calls = world(20)[0], []

    def between() -> None:
        calls.append(len(calls))
        if len(calls) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # two steps and two looks a fold: in the second one
        estimate(split, Making(make_parser, between_steps=between), Exchange(batch=5), seed=0)
    calls[:] = range(10)
    estimate(split, Making(make_parser, between_steps=between), Exchange(batch=5), seed=0)
    assert len(calls) == 10 + 8
