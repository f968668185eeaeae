"""The recipe: all the settings that fix the course of a training, besides its videos and their labels."""

from typing import Literal

from pydantic import Field

from finetune.cleaning.cleaner import Cleaning
from finetune.losses import LossSettings
from finetune.parser import ParserSettings
from finetune.scoring.decision import Protocol
from launch.settings import Settings


class Training(Settings):
    """How the loss is descended; the defaults are the paper's. Adam without weight decay."""

    epochs: int = Field(40, ge=1, description="passes over the training videos")
    batch: int = Field(64, ge=1, description="videos a step")
    learning_rate: float = Field(3e-4, gt=0, description="Adam's step size at the start")
    encoder_learning_rate: float = Field(3e-5, gt=0, description="that of parser.encoder, where there is one")
    decay: float = Field(0.5, gt=0, le=1, description="factor on the learning rates every decay_every epochs")
    decay_every: int = Field(5, ge=1, description="epochs between two decays of the learning rates")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the products of a step; probabilities, pooling, loss and weights are always float32"
    )
    record_every: int = Field(10, ge=1, description="steps between two recorded points of the loss curves")
    keep_every: int = Field(1, ge=1, description="epochs between two saved states, where a later start goes on")

    def decayed(self, rate: float, epoch: int) -> float:
        """A learning rate in an epoch, counted from 1."""
        return rate * self.decay ** ((epoch - 1) // self.decay_every)


class Recipe(Settings):
    """How a parser is built, trained and judged."""

    seed: int = Field(0, ge=0, description="of initial weights, dropout and order; same seed, same parser")
    parser: ParserSettings = ParserSettings()
    loss: LossSettings = LossSettings()
    cleaning: Cleaning = Cleaning()
    training: Training = Training()
    protocol: Protocol = Protocol()
