"""make bench-pretrain

How fast a run of pretrain/configs/debug.toml and of base.toml goes on this machine in one process: its own step, loss
and DeepSpeed engine, on its own batches, read from planted shards whose snippets are of 300 scenes (features random
around each scene's). Medians over steps after two that warm up. The last line is JSON; for each config:

- `videos_per_s`, `step_s`; `waiting_share`: of the time that waits for data; `loss_share`: of the time in the loss over
  all pairs, its gradient included.
- `gflop_per_s`: of the encoder and the scores, by formula; `product_share`: of what plain products of 2048 × 2048
  numbers reach; `flop_utilisation`: of the device's peak by its data sheet, null where that is not known.
- `global_batch`, `micro_batch`, `precision`, `threads`.

A GPU takes the config's precision, and of `base` the 450 videos a step that fall to one of eight. A CPU takes fp32, and
of `base` no more than 16 videos a step: the loss has less to do than in a run for use. `debug_in_parts` is `debug`
encoded 32 videos at a time: what two passes cost.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graph.components import Components
from launch.progress import say
from launch.settings import load
from launch.world import World
from pretrain import step as step_module
from pretrain.batches import Batches
from pretrain.config import Config
from pretrain.engine.engine import Engine
from pretrain.engine.speed import Speed, loss_flops, training_flops, world_peak
from pretrain.model import Transformer
from shards.read import Shards
from shards.schema import SECONDS, Feature, Video
from shards.write import Writer

WIDTHS = {"vggish": 128, "resnet152": 2048, "r2plus1d_18": 512}
SCENES, WARM_UP = 300, 2
CONFIGS = Path(__file__).parents[2] / "pretrain" / "configs"
CUDA = torch.cuda.is_available()
RUNS: dict[str, tuple[str, dict[str, Any], int]] = {
    "debug": ("debug", {}, 20),
    "debug_in_parts": ("debug", {"batches.micro_batch": 32}, 20),
    "base": (
        "base",
        {"batches.global_batch": 450} if CUDA else {"batches.global_batch": 16, "engine.precision": "fp32"},
        20 if CUDA else 8,
    ),
}
"""The config of each run, what is set otherwise, and how many steps are measured."""


def plant(folder: Path, videos: int) -> tuple[Shards, Components]:
    """A shard set and the components of its snippets."""
    draw = np.random.default_rng(0)
    scenes = {name: draw.standard_normal((SCENES, width), np.float32) for name, width in WIDTHS.items()}
    scene_of = draw.integers(SCENES, size=(videos, 2)).repeat(SECONDS // 2, axis=1)
    keys = tuple(f"video{number:06d}_0_10" for number in range(videos))
    features = [Feature(name, width) for name, width in WIDTHS.items()]
    with Writer(folder, features, {"stage": "benchmark"}, videos_per_shard=500) as writer:
        for key, scene in zip(keys, scene_of, strict=True):
            noise = {name: draw.standard_normal((SECONDS, width), np.float32) for name, width in WIDTHS.items()}
            writer.add(Video(key, {name: scenes[name][scene] + 0.5 * noise[name] for name in WIDTHS}))
    shards = Shards.open(folder)
    return shards, Components(scene_of[..., None], keys, shards.manifest.digest, {"audio": 0.9, "visual": 0.9})


def settings(name: str, changes: dict[str, Any]) -> Config:
    """A shipped config with some values changed, for one process."""
    given = {"shards": "shards", "components": "graph", "out": "out", "job.processes": 1} | changes
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    return load(Config, [CONFIGS / f"{name}.toml"], words, "bench-pretrain")


def measure(config: Config, planted: tuple[Shards, Components], world: World, steps: int) -> dict[str, Any]:
    """What a run of so many steps is like, after the steps that warm up."""
    batches = Batches(config.batches, *planted, None, config.model.features, world)
    engine = Engine(Transformer(config.model, batches.widths()), config.engine, world)
    speed = Speed(config.model, batches.widths(), config.loss, config.engine, world)
    clock, contrast = Stopwatch(), step_module.contrast
    step_module.contrast = clock.timing(contrast)
    points = []
    try:
        for step, batch in speed.reading(batches.from_step(0, WARM_UP + steps)):
            clock.seconds = 0.0
            step_module.train_step(engine, batch, step, WARM_UP + steps, config)
            synchronise()
            found = speed.point(batch.videos)
            seconds = batch.videos / found["videos_per_second"]
            points.append(found | {"loss_share": clock.seconds / seconds, "step_s": seconds})
    finally:
        step_module.contrast = contrast
    middle = {name: statistics.median(point[name] for point in points[WARM_UP:]) for name in points[0]}
    return middle | _rates(config, batches.widths(), middle, world)


def _rates(config: Config, widths: dict[str, int], middle: dict[str, float], world: World) -> dict[str, Any]:
    videos = config.batches.global_batch
    flops = videos * training_flops(config.model, widths)
    flops += loss_flops(config.loss, videos * SECONDS, config.model.width)
    rate = flops * middle["videos_per_second"] / videos
    return {
        "videos_per_s": middle["videos_per_second"],
        "gflop_per_s": rate / 1e9,
        "product_share": rate / product_rate(world.device, config.engine.precision),
        "flop_utilisation": middle.get("flop_utilisation") if world_peak(world, config.engine.precision) else None,
        "global_batch": videos,
        "micro_batch": config.batches.micro_batch,
        "precision": config.engine.precision,
        "threads": torch.get_num_threads(),
    }


class Stopwatch:
    """Adds up the seconds that calls take."""

    seconds = 0.0

    def timing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, watched."""

        def watched(*given: Any, **named: Any) -> Any:
            synchronise()
            before = time.perf_counter()
            found = call(*given, **named)
            synchronise()
            self.seconds += time.perf_counter() - before
            return found

        return watched


def product_rate(device: torch.device, precision: str, size: int = 2048) -> float:
    """The FLOP/s of plain products of square matrices: the best of five."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(5):
        synchronise()
        before = time.perf_counter()
        left @ right
        synchronise()
        times.append(time.perf_counter() - before)
    return 2 * size**3 / min(times)


def synchronise() -> None:
    """Waits for what was asked of the device."""
    if CUDA:
        torch.cuda.synchronize()


def main(words: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=4096 if CUDA else 1536, help="videos in the planted shards")
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS), help="what is measured")
    parser.add_argument("--steps", type=int, help="steps measured; when absent as many as each run's table says")
    asked = parser.parse_args(words)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    world = World.from_environment(seed=0)
    kept = ("videos_per_s", "step_s", "waiting_share", "loss_share", "gflop_per_s", "product_share")
    kept += ("flop_utilisation", "global_batch", "micro_batch", "precision", "threads")
    result: dict[str, Any] = {"device": torch.cuda.get_device_name() if CUDA else "CPU"}
    with tempfile.TemporaryDirectory() as name:
        planted = plant(Path(name) / "shards", asked.videos)
        for run in asked.runs:
            config, changes, steps = RUNS[run]
            found = measure(settings(config, changes), planted, world, asked.steps or steps)
            result[run] = {key: round(value, 4) if isinstance(value := found[key], float) else value for key in kept}
            say(f"{run}: {result[run]}")
    world.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
