"""Measures what a few steps take of this process's memory, one run after the other; prints measured and expected bytes.

memory_trial.py JSON: a list of settings
"""

import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch

from launch.world import World
from pretrain.batches import Batch
from pretrain.config import Config
from pretrain.engine.engine import Engine
from pretrain.engine.memory import memory
from pretrain.model import Transformer
from pretrain.step import train_step

WIDTHS = {"vggish": 128, "resnet152": 2048, "r2plus1d_18": 512}
FIRST = {"model": {"layers": 1, "width": 64, "heads": 2}, "batches": {"global_batch": 4}}
"""A run that is not measured: libraries take what they hold for good."""


def measured(given: dict[str, Any], world: World) -> tuple[int, float]:
    """The most that two steps took beyond what was there before, and the estimate."""
    config = Config.model_validate({"shards": "shards", "components": "graph", "out": "out"} | given)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    engine, videos = Engine(Transformer(config.model, WIDTHS), config.engine, world), config.batches.global_batch
    features = {name: torch.randn(videos, 10, width).half() for name, width in WIDTHS.items()}
    batch = Batch(("",) * videos, features, torch.randint(50, (videos, 10, 1)), videos, ())
    for step in range(2):
        train_step(engine, batch, step, 9, config)
    expected = memory(config.model, WIDTHS, config.engine, config.batches, config.loss, 1, "cpu")
    return _status("VmHWM") - before, expected.peak


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


if __name__ == "__main__":
    here = World.from_environment(0)
    measured(FIRST, here)
    print(json.dumps([measured(each, here) for each in json.loads(sys.argv[1])]))
