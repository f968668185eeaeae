"""One rank of a world that stops after some steps and goes on, at every ZeRO stage and precision, with dropout on.

    state_worker.py OUT-FOLDER [SIZE]

Writes `<case>.safetensors`: the weights of a run that never stopped (`whole/…`), of one that did (`parts/…`), and which
state a fresh engine held after it read that of a world of SIZE ranks (its own if none is given).
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file

from launch.world import World
from pretrain.engine.engine import Engine
from pretrain.engine.settings import EngineSettings
from pretrain.model import ModelSettings, Transformer

WIDTHS = {"vggish": 5, "resnet152": 7, "r2plus1d_18": 3}
MODEL = ModelSettings(layers=1, width=14, heads=2)
RUNS: tuple[tuple[Literal[0, 1, 2, 3], Literal["fp32", "bf16"]], ...] = (
    (0, "fp32"),
    (1, "fp32"),
    (2, "fp32"),
    (3, "fp32"),
    (1, "bf16"),
    (3, "bf16"),
)
STEPS, STOP = 4, 2


def main(out: Path, size: int | None) -> None:
    world = World.from_environment(seed=3)
    for stage, precision in RUNS:
        settings = EngineSettings(zero_stage=stage, precision=precision)
        whole, kept = engine_of(settings, world, 3), out / f"{world.size}-{stage}-{precision}"
        train(whole, world, 0, STOP)
        whole.save(kept)
        train(whole, world, STOP, STEPS)
        world.barrier()
        parts = engine_of(settings, world, 4)
        parts.load(kept)
        train(parts, world, STOP, STEPS)
        fresh = engine_of(settings, world, 5)
        fresh.load(out / f"{size or world.size}-{stage}-{precision}")
        fresh.save(kept / "again")
        ends = {"whole": whole.weights(), "parts": parts.weights()}
        if world.leads:
            found = {f"{end}/{name}": value for end, weights in ends.items() for name, value in weights.items()}
            save_file(found, kept / "ends.safetensors")
    world.close()


def engine_of(settings: EngineSettings, world: World, seed: int) -> Engine:
    torch.manual_seed(seed)
    return Engine(Transformer(MODEL, WIDTHS), settings, world)


def train(engine: Engine, world: World, first: int, end: int) -> None:
    """Steps whose data and dropout depend on the step and the rank alone; an odd loss, that of no other project."""
    for step in range(first, end):
        torch.manual_seed(1000 * step + world.rank)
        audio, visual = engine.embed({name: torch.randn(3, 10, width) for name, width in WIDTHS.items()})
        engine.backward((audio * visual).mean() + 0.1 * (audio**3).mean() + visual.square().mean())
        engine.step(rate=0.01 / (step + 1))


def state(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors that the ranks of an engine wrote."""
    files: Iterator[Path] = iter(sorted((folder / "engine").glob("*.safetensors")))
    return dict(itertools.chain.from_iterable(load_file(file).items() for file in files))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
