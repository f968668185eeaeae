"""A step that cannot be taken is refused with the videos it was for."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from launch.refusal import Refusal
from launch.world import World
from pretrain.batches import Batch
from pretrain.config import Config
from pretrain.engine.engine import Engine
from pretrain.loss.contrast import LossSettings
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
