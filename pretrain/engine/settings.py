"""How parameters are split over ranks and moved: ZeRO, precision, AdamW, the learning rate of every step."""

import math
from typing import Literal

from pydantic import Field, model_validator

from launch.settings import Settings

Precision = Literal["fp32", "bf16"]


class EngineSettings(Settings):
    """How parameters are split over ranks and moved: ZeRO, precision, AdamW, learning rate."""

    zero_stage: Literal[0, 1, 2, 3] = Field(
        1, description="ZeRO: split nothing (0), optimizer states (1), gradients too (2), parameters too (3)"
    )
    precision: Precision = Field("fp32", description="of parameters and activations; the loss is fp32")
    recompute: bool = Field(
        False, description="whether the backward pass computes each layer again instead of keeping what it held: memory"
    )
    learning_rate: float = Field(1e-4, gt=0, description="of AdamW, at the end of the warm-up")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW; 0 makes it Adam")
    warm_up: int = Field(
        100, ge=0, description="steps in which the learning rate rises linearly to its full value; 0: full at once"
    )
    final_share: float = Field(
        0.1, ge=0, le=1, description="share of the learning rate at the end of the cosine; 1: no decay"
    )
    clip: float = Field(1.0, ge=0, description="largest norm of all gradients together; 0: no clipping")

    @model_validator(mode="after")
    def _bf16_needs_a_stage(self) -> "EngineSettings":
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError(
                "precision bf16 needs zero_stage 1, 2 or 3, but zero_stage is 0: there DeepSpeed takes an optimizer "
                "step on empty gradients at its start, which moves the weights before the first batch."
            )
        return self


def learning_rate(step: int, steps: int, settings: EngineSettings) -> float:
    """The rate of a step counted from 0 of `steps`: linear warm-up, then a cosine down to the final share.

    A function of the step alone, so a resumed run needs no scheduler's state.
    """
    if step < settings.warm_up:
        return settings.learning_rate * (step + 1) / settings.warm_up
    progress = min(1.0, (step - settings.warm_up) / max(1, steps - settings.warm_up))
    falling = (1 + math.cos(math.pi * progress)) / 2
    return settings.learning_rate * (settings.final_share + (1 - settings.final_share) * falling)
