"""python -m launch pretrain pretrain/configs/debug.toml --shards SHARDS/train --components GRAPH --out PRETRAINED

Trains the cross-modal encoder on the positives that the graph found, over `job.processes` processes under DeepSpeed.
Started again with the same settings it goes on from the last good checkpoint in `out/checkpoints`; at the end the
encoder lies in `out/encoder`.
"""

import json
import shutil
from typing import Any

import torch

from graph.components import FILE, Components
from launch import tracking
from launch.atomic import whole_folder
from launch.digest import sha256_file
from launch.preemption import preemption
from launch.progress import say
from launch.tracking import Record, Thing
from launch.world import World
from pretrain import outset
from pretrain.batches import Batches, read_groups
from pretrain.checkpoint import Checkpoints
from pretrain.config import Config
from pretrain.course import Course
from pretrain.engine.engine import Engine, deepspeed_config
from pretrain.model import SETTINGS, Transformer, save_encoder
from pretrain.traced import encoder_of
from shards.groups import Groups
from shards.read import Shards
from shards.traced import shard_set


def check(config: Config) -> None:
    """Raises Refusal for shards and components that are damaged or do not belong together."""
    _read(config)


def main(config: Config) -> None:
    """Trains to the last step, or to `stop_after`; every rank of the world runs this."""
    world = World.from_environment(config.seed, config.job.lost_after, config)
    if config.job.threads:
        torch.set_num_threads(config.job.threads)  # one process has no launcher that would set OMP_NUM_THREADS
    shards, components, groups = _read(config, world)
    batches = Batches(config.batches, shards, components, groups, config.model.features, world)
    steps = config.steps or config.epochs * batches.order.steps_per_epoch
    engine = Engine(Transformer(config.model, batches.widths()), config.engine, world)
    origin = _origin(config, shards, components, groups, steps)
    checkpoints = Checkpoints(config.out / "checkpoints", config.checkpoints, world, origin)
    _say_what_was_read(config, shards, components, batches, world)
    if config.replace and not world.restarts:
        _start_over(config, checkpoints, world)
    found = checkpoints.newest()
    with (
        tracking.run(config.tracking, "pretrain", config, world.leads, found.run if found else "") as record,
        preemption(world) as asked_to_stop,
    ):
        record.tags({name: origin[name] for name in ("closure", "refine")})
        record.text("deepspeed.json", json.dumps(deepspeed_config(config.engine), indent=1) + "\n")
        record.reads(shard_set(shards), Thing("components", origin["components"], config.components))
        start = checkpoints.resume(engine, found)
        outset.tell(config, batches, steps, start, world)
        stop = min(steps, start + config.stop_after) if config.stop_after else steps
        course = Course(config, steps, engine, batches, checkpoints, record)
        course.go(start, stop, asked_to_stop)
        _say_how_it_went(course.look(stop))
        if stop == steps:
            _write_encoder(config, engine, batches, origin, record)
        else:
            say(f"Stopped after step {stop} of {steps}, as stop_after asks: {config.how_to_go_on}.")
    world.close()


def _read(config: Config, world: World | None = None) -> tuple[Shards, Components, Groups | None]:
    shards = Shards.open(config.shards, config.reading, config.batches.window)
    if world:
        world.agree({"manifest of the shards": shards.manifest.digest[:12]})
    components = Components.load(config.components, shards)
    if world:
        world.agree({"components": sha256_file(config.components / FILE)[:12]})
    return shards, components, read_groups(config.components, shards, config.batches.per_group)


def _start_over(config: Config, checkpoints: Checkpoints, world: World) -> None:
    """The encoder goes first: were the run to die, an export must not take it for this run's."""
    if world.leads:
        shutil.rmtree(config.out / "encoder", ignore_errors=True)
    checkpoints.clear()


def _origin(
    config: Config, shards: Shards, components: Components, groups: Groups | None, steps: int
) -> dict[str, Any]:
    """What fixes the course of a run: a checkpoint is resumed, and an encoder known, by it.

    What only trades time for memory, such as ZeRO's stage, is no part of it: a run that ran out of memory can go on.
    """
    memory: dict[str, Any] = {"loss": {"tile", "exchange", "gather_mib"}, "engine": {"recompute", "zero_stage"}}
    memory["batches"] = {"workers", "micro_batch"}
    parts = config.model_dump(mode="json", include={"seed", "model", "loss", "engine", "batches"}, exclude=memory)
    digests = {"manifest": shards.manifest.digest, "components": sha256_file(config.components / FILE)}
    digests |= {"groups": groups.digest} if groups else {}
    variants = {name: shards.manifest.features[name].variant for name in config.model.features}
    positives = {"closure": components.closure, "refine": components.refine}
    return {**digests, **positives, "variants": variants, "steps": steps, **parts}


def _say_what_was_read(config: Config, shards: Shards, components: Components, batches: Batches, world: World) -> None:
    order = batches.order
    say(
        f"Read {len(shards)} videos from '{config.shards}' (manifest {shards.manifest.digest[:12]}) and their "
        f"components from '{config.components}' (closure {components.closure}, refine {components.refine}): "
        f"{order.videos} to train on, {len(shards) - order.videos} held out, {order.steps_per_epoch} steps an epoch "
        f"on {world.size} process{'es' if world.size > 1 else ''}."
    )


def _say_how_it_went(found: dict[str, float]) -> None:
    if found:
        say("Held out: " + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found.items()) + ".")


def _write_encoder(config: Config, engine: Engine, batches: Batches, origin: dict[str, Any], record: Record) -> None:
    weights = engine.weights()
    if not engine.world.leads:
        return
    folder = config.out / "encoder"
    with whole_folder(folder, replace=True) as temporary:
        save_encoder(temporary, weights, config.model, batches.widths(), origin)
    record.artifact(folder / SETTINGS)  # the weights stay in one place: they can be gigabytes
    record.makes(encoder_of(folder))
    size = sum(value.numel() for value in weights.values())
    say(f"Wrote the encoder ({size:,} weights) to '{folder}', checkpoints to '{config.out / 'checkpoints'}'.")
