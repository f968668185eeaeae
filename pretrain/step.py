"""A step: the snippets of a global batch are compared, and the optimizer moves the weights once."""

import math

import torch
import torch.distributed as dist
from torch.nn.functional import normalize

from launch.refusal import Refusal
from pretrain.batches import Batch
from pretrain.config import Config
from pretrain.engine.accumulation import Part, Passes, dropout_seed
from pretrain.engine.engine import Engine
from pretrain.engine.settings import learning_rate
from pretrain.loss.contrast import contrast


def train_step(engine: Engine, batch: Batch, step: int, steps: int, config: Config) -> dict[str, float]:
    """Compares the snippets of a global batch, takes one optimizer step, and tells what was seen, by name.

    Collective. Raises Refusal on every rank, and moves no weight, when the loss or a gradient is not finite.
    """
    rate = learning_rate(step, steps, config.engine)
    passes = encode(engine, batch, step, config)
    rows = [normalize(each.flatten(0, 1), dim=-1) for each in (passes.audio, passes.visual)]
    settings, drawn_from = config.loss.in_epoch(batch.epoch), (config.seed, step)
    present = None if batch.present is None else batch.present.transpose(1, 2).flatten(0, 1)
    found = contrast(rows[0], rows[1], batch.ids.flatten(0, 1), settings, present, drawn_from)
    loss = found.loss.item()
    if not math.isfinite(loss):
        _refuse_loss(loss, step, batch, (passes.audio + passes.visual).isfinite().all(-1).all(-1))
    passes.backward(found.loss)
    norm = engine.step(rate)
    if not math.isfinite(norm):
        _refuse_gradient(norm, loss, step, batch)
    return {
        "loss": loss,
        "positive_cosine": found.positive_cosine,
        "negative_cosine": found.negative_cosine,
        "active_positives": found.active_positives,
        "active_negatives": found.active_negatives,
        "learning_rate": rate,
        "gradient_norm": norm,
    }


def encode(engine: Engine, batch: Batch, step: int, config: Config) -> Passes:
    """The embeddings of this rank's part of a global batch, encoded `batches.micro_batch` videos at a time.

    Those of snippets that are not present are zero, and no other depends on what stands there.
    """
    micro = batch.micro_batches(config.batches.micro_batch, engine.world.size)
    seeds = [dropout_seed(config.seed, step, each.first) for each in micro]
    parts = [Part(each.features, seed, each.present) for each, seed in zip(micro, seeds, strict=True)]
    return Passes(engine, parts)


def _refuse_loss(loss: float, step: int, batch: Batch, finite: torch.Tensor) -> None:
    """Raises on every rank alike: the loss is one number, so all ranks come here together."""
    keys = [key for key, whole in zip(batch.keys, finite.tolist(), strict=True) if not whole]
    bad = _named(keys)
    where = (
        f"where these videos' embeddings are not: {bad}"
        if bad
        else f"though every embedding is, for these videos: {_named(list(batch.keys))}"
    )
    raise Refusal(
        f"The loss must be finite, but is {loss} at step {step}, {where}; nothing was updated: look at these videos, "
        "or lower engine.learning_rate and start from the last checkpoint."
    )


def _refuse_gradient(norm: float, loss: float, step: int, batch: Batch) -> None:
    """Raises on every rank alike: the norm is that of all ranks' gradients."""
    raise Refusal(
        f"The norm of the gradients must be finite, but is {norm} at step {step}, where the loss is {loss}, for these "
        f"videos: {_named(list(batch.keys))}; nothing was updated: lower engine.learning_rate, and start from the last "
        "checkpoint."
    )


def _named(mine: list[str]) -> str:
    """The first of all ranks' keys. Collective."""
    everyone: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, mine)
    keys = [key for part in everyone for key in part]
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
