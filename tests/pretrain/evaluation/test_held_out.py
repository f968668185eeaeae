"""What is seen of held-out videos does not depend on what stands in seconds that they do not have."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from launch.world import World
from pretrain.batches import Batch, present_snippets
from pretrain.engine.engine import Engine
from pretrain.engine.settings import EngineSettings
from pretrain.evaluation.held_out import HeldOut
from pretrain.loss.contrast import LossSettings
from pretrain.model import ModelSettings, Transformer
from shards.labels import Tables
from tests.pretrain.conftest import WIDTHS

VIDEOS = 54
"""Enough for a probe."""
KEYS = tuple(f"v{number:02d}_0_{10 if number % 3 else 4}" for number in range(VIDEOS))


def held_out(padding: float) -> HeldOut:
    draw = torch.Generator().manual_seed(0)
    features = {name: torch.randn(VIDEOS, 10, width, generator=draw) for name, width in WIDTHS.items()}
    ids, present = torch.randint(4, (VIDEOS, 10, 1), generator=draw), present_snippets(KEYS)
    for array in features.values():
        array[~present[:, 0]] = padding
    batch = Batch(KEYS, features, ids, VIDEOS, (), present)
    return HeldOut.of(batch, LossSettings(), 16, Path("tables"))


@pytest.fixture
def labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables in which every video has one of three labels."""
    weak = {key: (number % 5 % 3,) for number, key in enumerate(KEYS)}
    monkeypatch.setattr(Tables, "load", lambda folder: Tables({"train": weak}, {}, {}))


@pytest.mark.usefixtures("labelled")
def test_what_is_seen_is_that_of_the_seconds_that_exist(alone: World) -> None:
    torch.manual_seed(0)
    model = ModelSettings(layers=1, width=16, heads=2)
    engine = Engine(Transformer(model, WIDTHS), EngineSettings(zero_stage=1), alone)
    zeros = held_out(0.0)
    found = zeros.evaluate(engine)
    assert {"video_map", "auc", "audio_to_visual_map", "effective_rank_audio"} <= set(found)
    assert held_out(math.nan).evaluate(engine) == found
    unmasked = replace(zeros, batch=replace(zeros.batch, present=None)).evaluate(engine)
    assert unmasked["auc"] != pytest.approx(found["auc"], rel=1e-4)
    assert zeros.most(10**6) == int(present_snippets(KEYS)[:, 0].sum())
