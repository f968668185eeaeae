"""Memory: what a run takes of each rank's device, estimated before it starts, by what it is for.

An estimate: weights, gradients and optimizer states are counted as DeepSpeed 0.19 was seen to hold them on a CPU, what
the backward pass keeps is counted by autograd itself on tensors without data, the loss by its rows and tiles. What
libraries hold for themselves is not in it: a CUDA context, some hundred MiB; NCCL's buffers; fragmentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from pretrain.batches import BatchSettings
from pretrain.engine.settings import EngineSettings
from pretrain.loss.contrast import TILES, LossSettings
from pretrain.model import ModelSettings, Transformer
from shards.schema import MODALITIES, SECONDS

FLOAT32 = 4
BUCKET = 500_000_000
"""Numbers of the buffer in which DeepSpeed's ZeRO collects gradients to be summed (its `reduce_bucket_size`)."""
TOKENS = SECONDS * len(MODALITIES)
"""Of a video; as many rows in the loss."""


@dataclass(frozen=True)
class Memory:
    """Bytes on the device of the rank that has the most."""

    weights: float
    optimizer: float
    gradients: float
    """Of the weights, where they are collected to be summed over ranks, and as the optimizer takes them."""
    activations: float
    loss: float

    @property
    def peak(self) -> float:
        """Bytes that are held at once: when the backward pass begins, or when the optimizer steps."""
        return self.weights + self.optimizer + max(self.gradients, self.activations + self.loss)


def memory(
    model: ModelSettings,
    widths: Mapping[str, int],
    engine: EngineSettings,
    batches: BatchSettings,
    loss: LossSettings,
    ranks: int,
    device: str,
) -> Memory:
    """The estimate for a run on so many ranks; `device`: "cuda" or "cpu", which take different buffers."""
    numbers, size, stage = parameters(model, widths), size_of(engine), engine.zero_stage
    held = -(-batches.global_batch // ranks)
    encoded = min(batches.micro_batch or held, held)
    states = 3 if stage else 2  # two moments of Adam, and beside the weights a copy that it moves
    return Memory(
        weights=numbers * size * (1 + 1 / ranks if stage == 3 else 1),  # ZeRO 3 holds on to what it has gathered
        optimizer=states * FLOAT32 * numbers / (ranks if stage else 1),
        gradients=_gradients(numbers, engine, ranks, device),
        activations=encoded * kept(model, widths, engine) + held * SECONDS * sum(widths.values()) * 2,
        loss=_loss(loss, model.width, batches.global_batch, held, ranks, device),
    )


def parameters(model: ModelSettings, widths: Mapping[str, int]) -> int:
    """How many numbers an encoder learns; none is made."""
    with torch.device("meta"):
        return sum(each.numel() for each in Transformer(model, widths).parameters())


def size_of(engine: EngineSettings) -> int:
    """Bytes of a parameter."""
    return 2 if engine.precision == "bf16" else FLOAT32


def kept(model: ModelSettings, widths: Mapping[str, int], engine: EngineSettings) -> float:
    """Bytes that the forward pass of a video keeps for the backward pass, and that this one works with."""
    one, two = (_kept(model.model_copy(update={"layers": layers}), widths, engine) for layers in (1, 2))
    layer, inputs = two - one, TOKENS * model.width * size_of(engine)
    work = 3 * 4 * inputs  # gradients of the widest activations of a layer
    if engine.recompute:
        return one + model.layers * inputs + work
    return one + (model.layers - 1) * layer + work


def _kept(model: ModelSettings, widths: Mapping[str, int], engine: EngineSettings) -> float:
    """What autograd keeps of a video, counted on tensors that have a shape and no data."""
    videos, found = 8, dict[int, int]()
    with torch.device("meta"):
        encoder = Transformer(model, widths)
        encoder.to(torch.bfloat16 if engine.precision == "bf16" else torch.float32)
        features = {name: torch.empty(videos, SECONDS, widths[name], dtype=torch.float16) for name in model.features}
        own = {each.untyped_storage()._cdata for each in encoder.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                found[storage._cdata] = storage.nbytes()
            held.append(tensor)  # so that no other takes its place
            return tensor

        held: list[Tensor] = []
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = encoder(features)
        del outputs
    return sum(found.values()) / videos


def _gradients(numbers: int, engine: EngineSettings, ranks: int, device: str) -> float:
    """Of all weights where no stage splits them, else of a bucket of them and twice those of a rank's part."""
    stage, size = engine.zero_stage, size_of(engine)
    if stage == 0:
        return 2 * FLOAT32 * numbers
    collected = FLOAT32 if stage == 1 else size  # ZeRO 1 collects in float32
    bucket = BUCKET if device == "cuda" else min(numbers, BUCKET)  # a CPU takes only the pages that are written to
    return bucket * collected + 2 * FLOAT32 * numbers / ranks + (numbers * size if stage == 3 or size == 2 else 0)


def _loss(loss: LossSettings, width: int, videos: int, held: int, ranks: int, device: str) -> float:
    rows, own = TOKENS * videos, TOKENS * held
    rounded = device == "cuda" and loss.products == "auto" and loss.pairs == "all"
    size = 2 if rounded else FLOAT32
    gathers = loss.exchange == "gather" or (loss.exchange == "auto" and rows * width * size <= loss.gather_mib * 2**20)
    others = 0 if ranks == 1 else 2 * rows if gathers else 3 * own
    slopes = 2 if loss.reduction == "active" else 1
    embeddings = 4 * own * width * FLOAT32  # as encoded, as unit rows, and the gradients of both
    tile = min(loss.tile or TILES[device], SECONDS * held)
    scores = tile**2 * (FLOAT32 + (2 * 2 if rounded else 2 * FLOAT32))
    return embeddings + (own + others) * width * size + slopes * own * width * FLOAT32 + scores
