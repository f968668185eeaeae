"""A step that cannot be taken is refused with the videos it was for; seconds that do not exist have no part in one."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from launch.refusal import Refusal
from launch.world import World
from pretrain.batches import Batch, present_snippets
from pretrain.config import Config
from pretrain.engine.engine import Engine
from pretrain.loss.contrast import LossSettings, contrast
from pretrain.model import Transformer
from pretrain.step import train_step

WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}


@pytest.fixture
def config() -> Config:
    given: dict[str, Any] = {"shards": "shards", "components": "graph", "out": "out"}
    given |= {"model": {"layers": 1, "width": 16, "heads": 2, "dropout": 0.0}, "batches": {"micro_batch": 2}}
    return Config.model_validate(given)


@pytest.fixture
def engine(config: Config, alone: World) -> Engine:
    torch.manual_seed(0)
    return Engine(Transformer(config.model, WIDTHS), config.engine, alone)


def batch(seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(6, 10, width, generator=draw) for name, width in WIDTHS.items()}
    ids = torch.randint(4, (6, 10, 1), generator=draw)
    return Batch(tuple(f"video{number}" for number in range(6)), features, ids, 6, ())


def loss(alone: World, config: Config, step: int = 0, **changes: Any) -> float:
    """Of a step from the initial weights."""
    torch.manual_seed(0)
    engine = Engine(Transformer(config.model, WIDTHS), config.engine, alone)
    settings = config.model_copy(update={"loss": LossSettings.model_validate(changes)})
    return train_step(engine, replace(batch(), epoch=1), step, 9, settings)["loss"]


def test_a_step_takes_the_pairs_of_its_epoch_and_what_is_drawn_for_it(config: Config, alone: World) -> None:
    assert loss(alone, config, mode="multi", multi="alternate") == loss(alone, config, mode="cross")
    drawn = [loss(alone, config, step, pairs="sampled") for step in (0, 1, 1)]
    assert drawn[0] != drawn[1]
    assert drawn[1] == drawn[2]


def test_a_loss_that_is_not_finite_names_the_videos_whose_embeddings_are_not(engine: Engine, config: Config) -> None:
    bad, before = batch(), engine.weights()
    bad.features["vggish"][3, 7] = math.inf
    with pytest.raises(Refusal, match=r"^The loss must be finite, but is nan at step 4, .* are not: video3; nothing"):
        train_step(engine, bad, 4, 9, config)
    assert all(torch.equal(value, before[name]) for name, value in engine.weights().items())


def test_a_gradient_that_is_not_finite_is_refused_though_the_loss_is_finite(
    engine: Engine, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, backward = engine.weights(), engine.backward
    monkeypatch.setattr(engine, "backward", lambda loss: backward(loss * math.inf))
    with pytest.raises(
        Refusal, match=r"but is \w+ at step 4, where the loss is 0\.\d+, .*: video0, .* and 1 more; noth"
    ):
        train_step(engine, batch(), 4, 9, config)
    assert all(torch.equal(value, before[name]) for name, value in engine.weights().items())


SHORT = ("a_0_7", "b_0_10", "c_3_4", "d_0_10", "e_0_9.5", "f_0_10")


def short_batch(padding: float = 0.0, seed: int = 0) -> Batch:
    """Videos of 7, 10, 1, 10, 10 and 10 seconds; `padding` stands where there is no second."""
    found = batch(seed)
    present = present_snippets(SHORT)
    for array in found.features.values():
        array[~present[:, 0]] = padding
    return replace(found, keys=SHORT, present=present)


def stepped(config: Config, alone: World, given: Batch) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """What a step from the initial weights tells, and the weights that it leaves."""
    torch.manual_seed(0)
    engine = Engine(Transformer(config.model, WIDTHS), config.engine, alone)
    return train_step(engine, given, 3, 9, config), engine.weights()


@pytest.mark.parametrize("micro_batch", [None, 2])
@pytest.mark.parametrize("pairs", ["all", "sampled"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_what_stands_in_seconds_that_do_not_exist_moves_nothing(
    config: Config, alone: World, micro_batch: int | None, pairs: str, dropout: float
) -> None:
    batches = config.batches.model_copy(update={"micro_batch": micro_batch})
    model, chosen = config.model.model_copy(update={"dropout": dropout}), LossSettings(pairs=pairs)
    config = config.model_copy(update={"batches": batches, "model": model, "loss": chosen})
    told, moved = stepped(config, alone, short_batch())
    for padding in (math.nan, 5.0):
        again, others = stepped(config, alone, short_batch(padding))
        assert again == told
        assert all(torch.equal(value, moved[name]) for name, value in others.items())


def test_the_loss_of_short_videos_is_that_of_the_snippets_they_have(
    config: Config, engine: Engine, alone: World
) -> None:
    """By hand: each video is encoded alone, cut to its length, and only its own rows are compared."""
    given, rows, ids = short_batch(), list[tuple[torch.Tensor, torch.Tensor]](), list[torch.Tensor]()
    assert given.present is not None
    for place, length in enumerate(given.present[:, 0].sum(1).tolist()):
        alone_there = {name: array[place : place + 1, :length] for name, array in given.features.items()}
        with torch.no_grad():
            audio, visual = engine.model.eval()(alone_there)
        rows.append((audio[0], visual[0]))
        ids.append(given.ids[place, :length])
    audio, visual = (normalize(torch.cat(each), dim=-1) for each in zip(*rows, strict=True))
    expected = contrast(audio, visual, torch.cat(ids), config.loss)
    told, _ = stepped(config, alone, given)
    assert told["loss"] == pytest.approx(expected.loss.item(), rel=1e-5)
    assert told["positive_cosine"] == pytest.approx(expected.positive_cosine, rel=1e-5)
    assert told["loss"] != pytest.approx(stepped(config, alone, replace(given, present=None))[0]["loss"], rel=1e-3)


def lacking_batch(padding: float = 0.0) -> Batch:
    """The first video has no sound, the second no picture, the third neither, the fourth no sound at first."""
    found, present = batch(), torch.ones(6, 2, 10, dtype=torch.bool)
    present[0, 0] = present[1, 1] = present[2] = present[3, 0, :4] = False
    for name, array in found.features.items():
        array[~present[:, int(name != "vggish")]] = padding
    return replace(found, present=present)


@pytest.mark.parametrize("pairs", ["all", "sampled"])
def test_what_stands_where_a_modality_is_absent_moves_nothing(config: Config, alone: World, pairs: str) -> None:
    config = config.model_copy(update={"loss": LossSettings(pairs=pairs, anchors=60)})  # type: ignore[arg-type]
    told, moved = stepped(config, alone, lacking_batch())
    again, others = stepped(config, alone, lacking_batch(math.nan))
    assert again == told
    assert all(torch.equal(value, moved[name]) for name, value in others.items())


def test_a_modality_that_is_absent_is_in_no_pair(config: Config, engine: Engine, alone: World) -> None:
    given = lacking_batch()
    assert given.present is not None
    with torch.no_grad():
        rows = [normalize(each, dim=-1) for each in engine.model.eval()(given.features, given.present)]
    there, ids = given.present.transpose(0, 1), given.ids[..., 0]
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for query, key in ((0, 0), (0, 1), (1, 0), (1, 1)):
        scores = rows[query][there[query]] @ rows[key][there[key]].T
        same = ids[there[query]][:, None] == ids[there[key]][None]
        itself = torch.eye(*same.shape, dtype=torch.bool) & (query == key)
        kinds[True] += scores[same & ~itself].tolist()
        kinds[False] += scores[~same].tolist()
    told, _ = stepped(config, alone, given)
    assert told["positive_cosine"] == pytest.approx(sum(kinds[True]) / len(kinds[True]), rel=1e-4)
    assert told["negative_cosine"] == pytest.approx(sum(kinds[False]) / len(kinds[False]), rel=1e-4)
    under, over = [max(0.9 - s, 0) for s in kinds[True]], [max(s - 0.3, 0) for s in kinds[False]]
    assert told["loss"] == pytest.approx(sum(under) / len(under) + sum(over) / len(over), rel=1e-4)


def test_what_is_drawn_is_drawn_from_seconds_that_exist(config: Config, alone: World) -> None:
    config = config.model_copy(update={"loss": LossSettings(pairs="sampled", anchors=1)})
    given = replace(batch(), present=torch.arange(10).expand(6, 2, 10) < 1)
    torch.manual_seed(0)
    engine = Engine(Transformer(config.model, WIDTHS), config.engine, alone)
    assert all(train_step(engine, given, step, 9, config)["positive_cosine"] for step in range(5))


def test_videos_that_have_all_seconds_give_what_they_gave_without_a_mask(config: Config, alone: World) -> None:
    told, _ = stepped(config, alone, batch())
    masked, _ = stepped(config, alone, replace(batch(), present=torch.ones(6, 2, 10, dtype=torch.bool)))
    assert masked == pytest.approx(told, rel=1e-4)
