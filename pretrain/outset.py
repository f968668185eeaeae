"""The outset: what a pre-training run is about to do, as far as it is known before its first step."""

from launch.banner import Machines, amount, banner, gib
from launch.pace import duration
from launch.progress import say
from launch.world import World
from pretrain.batches import Batches
from pretrain.config import Config
from pretrain.engine.memory import memory, parameters
from pretrain.engine.settings import EngineSettings
from pretrain.engine.speed import loss_flops, training_flops, world_peak
from shards.schema import MODALITIES, SECONDS

SPLIT = ("nothing", "optimizer states", "optimizer states and gradients", "optimizer states, gradients and parameters")
"""What each of ZeRO's stages splits over the ranks."""


def tell(config: Config, batches: Batches, steps: int, done: int, world: World) -> None:
    """Says what is about to happen, `done` of the steps being behind. Collective."""
    machines = Machines.of(world)
    if world.leads:
        left = range(done, min(steps, done + config.stop_after) if config.stop_after else steps)
        say(banner(f"Pre-training into '{config.out}'", facts(config, batches.widths(), left, steps, machines, world)))


def facts(
    config: Config, widths: dict[str, int], left: range, steps: int, machines: Machines, world: World
) -> dict[str, str]:
    """What the banner says, by name. `left`: the steps of this start, of so many in all."""
    model, videos, engine = config.model, config.batches.global_batch, config.engine
    snippets = videos * SECONDS
    rows = len(MODALITIES) * snippets
    step = videos * training_flops(model, widths) + loss_flops(config.loss, snippets, model.width)
    return {
        "devices": machines.words(),
        "global batch": machines.share(videos, "videos", config.batches.micro_batch),
        "compared": f"{snippets:,} snippets, {rows:,} rows, {_pairs(config, rows)}",
        "precision": engine.precision + (", layers computed again in the backward pass" if engine.recompute else ""),
        "ZeRO stage": _zero(engine, world.size),
        "parameters": f"{parameters(model, widths):,} in {model.layers} layers of {model.width}, {model.heads} heads, "
        f"attention {model.attention}; reads {', '.join(model.features)}",
        "memory": _memory(config, widths, world),
        "steps": f"{left.start:,} to {left.stop:,} of {steps:,}, {amount(step, 'FLOP')} each",
        "time": _time(config, step * len(left), world),
    }


def _pairs(config: Config, rows: int) -> str:
    if config.loss.pairs == "all":
        return f"{amount(rows * (rows - 1))} ordered pairs, mode {config.loss.mode}".replace("  ", " ")
    return f"{config.loss.anchors} drawn of each modality against all, mode {config.loss.mode}"


def _zero(engine: EngineSettings, ranks: int) -> str:
    split = SPLIT[engine.zero_stage]
    over = f" over {ranks} ranks" if engine.zero_stage and ranks > 1 else ""
    return f"{engine.zero_stage}: " + (f"splits {split}{over}" if ranks > 1 else f"one rank, so {split} would be split")


def _memory(config: Config, widths: dict[str, int], world: World) -> str:
    held = memory(config.model, widths, config.engine, config.batches, config.loss, world.size, world.device.type)
    parts = f"weights {gib(held.weights)}, optimizer {gib(held.optimizer)}, gradients {gib(held.gradients)}, "
    parts += f"activations {gib(held.activations)}, loss {gib(held.loss)}"
    return f"about {gib(held.peak)} a rank at its peak, an estimate: {parts}, not all at once"


def _time(config: Config, flops: float, world: World) -> str:
    peak = world_peak(world, config.engine.precision)
    if not peak:
        return "told after the first steps"
    return f"at least {duration(flops / peak)}, were the devices used in full; told again after the first steps"
