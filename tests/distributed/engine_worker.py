"""One rank of a world: a few training steps through the DeepSpeed engine, in one way after another.

engine_worker.py CASE.safetensors OUT-FOLDER
"""

import sys
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from launch.world import World
from pretrain.batches import Batch
from pretrain.config import Config
from pretrain.engine.engine import Engine
from pretrain.model import Transformer
from pretrain.step import train_step

WIDTHS = {"vggish": 5, "resnet152": 7, "r2plus1d_18": 3}
LENGTHS = (8, 5, 1, 8)
"""Videos of each step's global batch: of two ranks one has fewer, fewer micro-batches, or none at all."""
WIDTH = 160
"""Wide enough that ZeRO 3 splits the layers' largest weights: it keeps those below 100,000 numbers whole."""


class Way(NamedTuple):
    """How a run is made."""

    stage: int
    precision: str = "fp32"
    micro: int | None = None
    dropout: float = 0.0
    recompute: bool = False

    def file(self, size: int) -> str:
        """What its results are called on so many ranks."""
        return f"{size}-{'-'.join(map(str, self))}.safetensors"


EXACT = [Way(stage, micro=micro) for stage, micro in product((0, 1, 2, 3), (None, 2))]
EXACT += [Way(3, recompute=True)]
ROUNDED = [Way(stage, "bf16", micro) for stage, micro in product((1, 3), (None, 2))]
DROPPED = [Way(stage, micro=2, dropout=0.1, recompute=again) for stage, again in ((1, False), (1, True), (3, True))]


def config(way: Way) -> Config:
    """The settings of a way."""
    given: dict[str, Any] = {"shards": "shards", "components": "graph", "out": "out", "seed": 3}
    given["model"] = {"layers": 2, "width": WIDTH, "heads": 2, "dropout": way.dropout}
    given["engine"] = {"zero_stage": way.stage, "precision": way.precision, "recompute": way.recompute}
    given["engine"] |= {"clip": 0.5, "warm_up": 0, "learning_rate": 1e-3}
    given["batches"] = {"micro_batch": way.micro}
    return Config.model_validate(given)


def main(case: Path, out: Path) -> None:
    world = World.from_environment(seed=3)
    data = load_file(case)
    for way in EXACT + ROUNDED + DROPPED:
        torch.manual_seed(3)
        settings = config(way)
        engine = Engine(Transformer(settings.model, WIDTHS), settings.engine, world)
        steps = range(len(LENGTHS))
        seen = [train_step(engine, part(data, step, world), step, len(steps), settings) for step in steps]
        weights = engine.weights()
        if world.leads:
            told = {name: torch.tensor([each[name] for each in seen]) for name in ("loss", "gradient_norm")}
            save_file(weights | told, out / way.file(world.size))
    world.close()


def part(data: dict[str, torch.Tensor], step: int, world: World) -> Batch:
    """This rank's part of a step's global batch."""
    videos = LENGTHS[step]
    first, end = (videos * rank // world.size for rank in (world.rank, world.rank + 1))
    features = {name: data[name][step, first:end] for name in WIDTHS}
    keys = tuple(f"video{number}" for number in range(first, end))
    return Batch(keys, features, data["ids"][step, first:end], videos, (), first=first)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
