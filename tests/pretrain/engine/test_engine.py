"""The engine's settings: what is refused, and the learning rate of every step."""

import pytest

from launch.refusal import Refusal
from pretrain.engine.engine import deepspeed_config
from pretrain.engine.settings import EngineSettings, learning_rate

SETTINGS = EngineSettings(learning_rate=2.0, warm_up=4, final_share=0.1)


def test_bf16_without_zero_is_refused_since_deepspeed_would_step_on_nothing() -> None:
    with pytest.raises(Refusal, match="precision bf16 needs zero_stage 1, 2 or 3, but zero_stage is 0"):
        EngineSettings(precision="bf16", zero_stage=0)


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    rates = [learning_rate(step, 24, SETTINGS) for step in range(24)]
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates[14] == pytest.approx((2.0 + 0.2) / 2)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert learning_rate(24, 24, SETTINGS) == pytest.approx(0.2)


def test_without_warm_up_and_decay_the_learning_rate_is_constant() -> None:
    constant = EngineSettings(learning_rate=1e-6, warm_up=0, final_share=1)
    assert {learning_rate(step, 10, constant) for step in range(12)} == {1e-6}


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_gradients_are_summed_where_deepspeed_can(stage: int) -> None:
    config = deepspeed_config(EngineSettings.model_validate({"zero_stage": stage}))
    assert config.get("gradient_allreduce_op") == (None if stage == 3 else "sum")
