"""A step: the snippets of a global batch are compared, and the optimizer moves the weights once."""

import math

import torch
import torch.distributed as dist
from torch.nn.functional import normalize

from launch.refusal import Refusal
from pretrain.batches import Batch
from pretrain.config import Config
from pretrain.engine.engine import Engine
from pretrain.engine.settings import learning_rate
from pretrain.loss.contrast import contrast


def train_step(engine: Engine, batch: Batch, step: int, steps: int, config: Config) -> dict[str, float]:
    """Compares the snippets of a global batch, takes one optimizer step, and tells what was seen, by name.

    Collective. Raises Refusal on every rank, before the optimizer's step, when the loss is not finite.
    """
    rate = learning_rate(step, steps, config.engine)
    audio, visual = engine.embed(batch.features)
    rows = [normalize(each.flatten(0, 1), dim=-1) for each in (audio, visual)]
    found = contrast(rows[0], rows[1], batch.ids.flatten(0, 1), config.loss)
    loss = found.loss.item()
    if not math.isfinite(loss):
        _refuse(loss, step, batch, (audio + visual).isfinite().all(-1).all(-1))
    engine.step(found.loss, rate)
    norm = engine.gradient_norm
    return {
        "loss": loss,
        "positive_cosine": found.positive_cosine,
        "negative_cosine": found.negative_cosine,
        "active_positives": found.active_positives,
        "active_negatives": found.active_negatives,
        "learning_rate": rate,
        **({} if norm is None else {"gradient_norm": norm}),
    }


def _refuse(loss: float, step: int, batch: Batch, finite: torch.Tensor) -> None:
    """Raises on every rank alike: the loss is one number, so all ranks come here together."""
    mine = [key for key, whole in zip(batch.keys, finite.tolist(), strict=True) if not whole]
    everyone: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, mine)
    keys = [key for part in everyone for key in part]
    named = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
    raise Refusal(
        f"The loss must be finite, but is {loss} at step {step}, where these videos' embeddings are not: {named}; "
        "nothing was updated: look at these videos, or lower engine.learning_rate and start from the last checkpoint."
    )
