"""Speed: how many videos a second a run takes in, how much of it waits for data, how much of the device it uses.

FLOPs are those of matrix products, counted by formula: a multiplication and an addition for each term. What is
computed twice to save memory (`batches.micro_batch`, `engine.recompute`) counts once, so utilisation is that of the
model, not of the hardware.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch

from launch.world import World
from pretrain.engine.settings import EngineSettings, Precision
from pretrain.loss.contrast import LossSettings
from pretrain.model import ModelSettings
from shards.schema import MODALITIES, SECONDS

T = TypeVar("T")

PEAKS: dict[str, dict[Precision, float]] = {
    "H200 NVL": {"bf16": 835e12, "fp32": 60e12},
    "H200": {"bf16": 989e12, "fp32": 67e12},
    "H100 NVL": {"bf16": 835e12, "fp32": 60e12},
    "H100 PCIe": {"bf16": 756e12, "fp32": 51e12},
    "H100": {"bf16": 989e12, "fp32": 67e12},
    "A100": {"bf16": 312e12, "fp32": 19.5e12},
    "A40": {"bf16": 149.7e12, "fp32": 37.4e12},
    "A10": {"bf16": 125e12, "fp32": 31.2e12},
    "L40S": {"bf16": 362e12, "fp32": 91.6e12},
    "L40": {"bf16": 181e12, "fp32": 90.5e12},
    "L4": {"bf16": 121e12, "fp32": 30.3e12},
}
"""FLOP/s of dense products by what a device is called, the longer name first: NVIDIA's data sheets (H200, H100, A100,
A40, A10, L40S, L40 and L4 Tensor Core GPU), half of what they give with sparsity; fp32 outside the tensor cores, as
torch computes it by default."""


class Speed:
    """Measures a run from one point to the next, on this rank's clock."""

    def __init__(
        self,
        model: ModelSettings,
        widths: Mapping[str, int],
        loss: LossSettings,
        engine: EngineSettings,
        world: World,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`widths`: of the features; `clock` tells seconds."""
        self._loss, self._width, self._clock = loss, model.width, clock
        self._video = training_flops(model, widths)
        self._peak = world_peak(world, engine.precision)
        self._start, self._waited, self._apart = clock(), 0.0, 0.0

    def reading(self, parts: Iterable[T]) -> Iterator[T]:
        """The same parts; the time until each is there is time waiting for data."""
        self._start, source = self._clock(), iter(parts)
        while True:
            before = self._clock()
            try:
                part = next(source)
            except StopIteration:
                return
            self._waited += self._clock() - before
            yield part

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What happens inside is no training, such as an evaluation or a checkpoint, and its time does not count."""
        before = self._clock()
        yield
        self._apart += self._clock() - before

    def point(self, videos: int) -> dict[str, float]:
        """What was seen since the last point, by name, when so many videos were trained on over all ranks.

        `waiting_share` is that of this rank's time, in [0, 1]; `flop_utilisation` the share of all devices' peak, also
        in [0, 1], absent where the peak is not known, as on a CPU.
        """
        now = self._clock()
        seconds = now - self._start - self._apart
        found = {
            "videos_per_second": videos / seconds,
            "snippets_per_second": videos * SECONDS / seconds,
            "waiting_share": self._waited / seconds,
        }
        if self._peak:
            flops = videos * self._video + loss_flops(self._loss, videos * SECONDS, self._width)
            found["flop_utilisation"] = flops / seconds / self._peak
        self._start, self._waited, self._apart = now, 0.0, 0.0
        return found


def world_peak(world: World, precision: Precision) -> float | None:
    """The FLOP/s of all devices of a world, taken to be alike; None where they are not known."""
    name = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "CPU"
    peak = device_peak(name, precision)
    return peak and world.size * peak


def device_peak(name: str, precision: Precision) -> float | None:
    """The FLOP/s of a device of that name; None for one that is not in `PEAKS`."""
    return next((peak[precision] for known, peak in PEAKS.items() if re.search(rf"\b{known}\b", name)), None)


def encoder_flops(model: ModelSettings, widths: Mapping[str, int]) -> int:
    """FLOPs to encode a video."""
    width, tokens = model.width, SECONDS * len(MODALITIES)
    fused = [names for names in (model.audio, model.visual) if len(names) > 1]
    fusing = sum(2 * SECONDS * len(names) * width**2 for names in fused)
    seen = tokens if model.attention == "joint" else SECONDS
    layer = 2 * tokens * (3 + 1 + 4 + 4) * width**2  # queries, keys, values; output; widen; narrow
    attention = 2 * 2 * tokens * seen * width  # scores; mixing
    return _projecting(model, widths) + fusing + model.layers * (layer + attention)


def training_flops(model: ModelSettings, widths: Mapping[str, int]) -> int:
    """FLOPs to encode a video and to take its gradient: products with weights and inputs; features have no gradient."""
    return 3 * encoder_flops(model, widths) - _projecting(model, widths)


def _projecting(model: ModelSettings, widths: Mapping[str, int]) -> int:
    return sum(2 * SECONDS * widths[name] * model.width for name in model.features)


def loss_flops(loss: LossSettings, snippets: int, width: int) -> int:
    """FLOPs of the scores of a global batch's pairs, each pair once: the least that a step costs.

    Gradients cost up to twice as much again: less where tiles are skipped since no hinge in them is above zero.
    """
    rows = len(MODALITIES) * snippets
    drawn = len(MODALITIES) * min(loss.anchors, snippets)
    scores = rows**2 // 2 if loss.pairs == "all" else drawn * rows
    kinds = 1 if loss.in_epoch(0).mode == "multi" else 2
    return 2 * width * scores // kinds
