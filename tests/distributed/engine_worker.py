"""One rank of a world: several steps through the DeepSpeed engine at a ZeRO stage after another.

engine_worker.py CASE.safetensors OUT-FOLDER
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from launch.world import World
from pretrain.engine.engine import Engine
from pretrain.engine.settings import EngineSettings
from pretrain.loss.contrast import LossSettings, contrast
from pretrain.model import ModelSettings, Transformer

WIDTHS = {"vggish": 5, "resnet152": 7, "r2plus1d_18": 3}
MODEL = ModelSettings(layers=2, width=16, heads=2, dropout=0)
RUNS = ((0, "fp32"), (1, "fp32"), (2, "fp32"), (3, "fp32"), (1, "bf16"), (3, "bf16"))


def main(case: Path, out: Path) -> None:
    world = World.from_environment(seed=3)
    data = load_file(case)
    for stage, precision in RUNS:
        torch.manual_seed(3)
        engine = Engine(
            Transformer(MODEL, WIDTHS), EngineSettings(zero_stage=stage, precision=precision, clip=0.5), world
        )
        losses = [step(engine, data, number, world) for number in range(len(data["ids"]))]
        weights = engine.weights()
        if world.leads:
            file = out / f"{world.size}-{stage}-{precision}.safetensors"
            save_file(weights | {"losses": torch.tensor(losses)}, file)
    world.close()


def step(engine: Engine, data: dict[str, torch.Tensor], number: int, world: World) -> float:
    """The loss before an optimizer step; in the second step the last of several ranks has no video."""
    videos, shares = data["ids"].shape[1], world.size - (number == 1 and world.size > 1)
    bounds = [videos * min(rank, shares) // shares for rank in (world.rank, world.rank + 1)]
    mine = slice(*bounds)
    audio, visual = engine.embed({name: data[name][number, mine] for name in WIDTHS})
    rows = [normalize(each.flatten(0, 1), dim=-1) for each in (audio, visual)]
    loss = contrast(rows[0], rows[1], data["ids"][number, mine].flatten(0, 1), LossSettings()).loss
    engine.step(loss, rate=1e-3 * (number + 1))
    return float(loss.detach())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
