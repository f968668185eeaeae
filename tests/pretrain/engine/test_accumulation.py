"""Two passes over micro-batches see the same dropout, and a gradient that is not finite moves nothing."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from launch.world import World
from pretrain.engine.accumulation import Part, Passes, dropout_seed
from pretrain.engine.engine import Engine
from pretrain.engine.settings import EngineSettings
from pretrain.model import ModelSettings, Transformer

WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}


def videos(count: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {name: torch.randn(count, 10, width, generator=draw) for name, width in WIDTHS.items()}


def parts(count: int, length: int, present: Tensor | None = None) -> list[Part]:
    features = videos(count)
    return [
        Part(
            {name: array[at : at + length] for name, array in features.items()},
            dropout_seed(0, 5, at),
            None if present is None else present[at : at + length],
        )
        for at in range(0, count, length)
    ]


def engine_of(world: World, dropout: float = 0.1, **settings: Any) -> Engine:
    torch.manual_seed(0)
    model = ModelSettings(layers=2, width=16, heads=2, dropout=dropout)
    return Engine(Transformer(model, WIDTHS), EngineSettings.model_validate(settings), world)


def watched(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """What the engine embeds from now on."""
    seen: list[tuple[Tensor, Tensor]] = []
    embed = engine.embed

    def watching(features: Mapping[str, Tensor], present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        seen.append(embed(features, present))
        return seen[-1]

    monkeypatch.setattr(engine, "embed", watching)
    return seen


@pytest.mark.parametrize("recompute", [False, True])
def test_both_passes_give_the_same_embeddings_bit_for_bit_under_dropout(
    alone: World, monkeypatch: pytest.MonkeyPatch, recompute: bool
) -> None:
    engine = engine_of(alone, recompute=recompute)
    seen = watched(engine, monkeypatch)
    passes = Passes(engine, parts(5, 2))
    passes.backward(passes.audio.square().sum() + passes.visual.sum())
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
        assert not first[0].requires_grad
    assert torch.equal(torch.cat([audio for audio, _ in seen[:3]]), passes.audio)
    engine.train(False)
    assert not torch.allclose(engine.embed(videos(5))[0], passes.audio)


def test_videos_that_are_encoded_at_once_are_encoded_once(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(alone)
    seen = watched(engine, monkeypatch)
    passes = Passes(engine, parts(5, 5))
    passes.backward(passes.audio.square().sum() + passes.visual.sum())
    assert len(seen) == 1


@pytest.mark.parametrize("short", [False, True])
def test_a_gradient_comes_from_pairs_across_micro_batches(alone: World, short: bool) -> None:
    """The loss is of sums and products over all videos: no micro-batch has one by itself."""
    lengths = torch.tensor([10, 3, 10, 10, 7, 10])[:, None, None]
    present = (torch.arange(10) < lengths).expand(-1, 2, -1) if short else None
    found = []
    for length in (6, 1, 2):
        engine = engine_of(alone, dropout=0.0, zero_stage=0)
        passes = Passes(engine, parts(6, length, present))
        assert bool((passes.audio[1, 3:] == 0).all()) == short
        passes.backward(passes.audio.sum(0).square().mean() + passes.visual.prod(0).mean())
        found.append({name: weight.grad for name, weight in engine.model.named_parameters()})
    for gradients in found[1:]:
        for name, expected in found[0].items():
            torch.testing.assert_close(gradients[name], expected, rtol=1e-4, atol=1e-6)


def test_dropout_is_drawn_from_the_seed_the_step_and_the_position_alone() -> None:
    drawn = [dropout_seed(seed, step, at) for seed in (0, 1) for step in (0, 1, 11) for at in (0, 1, 11)]
    assert len(set(drawn)) == 18
    assert all(0 <= each < 2**63 for each in drawn)
    assert dropout_seed(1, 11, 0) == drawn[15]


@pytest.mark.parametrize("slope", [math.inf, math.nan])
@pytest.mark.parametrize(
    ("stage", "precision"), [(0, "fp32"), (1, "fp32"), (2, "fp32"), (3, "fp32"), (1, "bf16"), (3, "bf16")]
)
def test_a_gradient_that_is_not_finite_is_told_and_moves_no_weight(
    alone: World, stage: int, precision: str, slope: float
) -> None:
    engine = engine_of(alone, zero_stage=stage, precision=precision)
    before = engine.weights()
    norms = []
    for factor in (slope, 1.0):
        passes = Passes(engine, parts(4, 2))
        passes.backward((passes.audio.sum() + passes.visual.sum()) * 0.01 * factor)
        norms.append(engine.step(1e-2))
        if factor != 1.0:
            assert all(torch.equal(value, before[name]) for name, value in engine.weights().items())
    assert not math.isfinite(norms[0])
    assert math.isfinite(norms[1])
    assert not torch.equal(engine.weights()["norm.bias"], before["norm.bias"])
    assert all(bool(value.isfinite().all()) for value in engine.weights().values())
