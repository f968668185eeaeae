"""python -m launch pretrain pretrain/configs/debug.toml --shards SHARDS/train --components GRAPH --out PRETRAINED

Trains the cross-modal encoder on the positives that the graph found, over `job.processes` processes under DeepSpeed.
Started again with the same settings it goes on from the last good checkpoint in `out/checkpoints`; at the end the
encoder lies in `out/encoder`.
"""

import math
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import Field
from torch.nn.functional import normalize

from graph.components import FILE, Components
from launch import tracking
from launch.atomic import whole_folder
from launch.digest import sha256_file
from launch.job import Job
from launch.progress import say, track
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Record, Tracking
from launch.world import World
from pretrain.batches import Batch, Batches, BatchSettings, read_groups
from pretrain.checkpoint import Checkpoints, CheckpointSettings
from pretrain.engine import Engine, EngineSettings, learning_rate
from pretrain.health import health
from pretrain.losses import LossSettings, contrast
from pretrain.model import SETTINGS, ModelSettings, Transformer, save_encoder
from shards.groups import Groups
from shards.location import Location
from shards.read import ReadSettings, Shards


class Config(Settings):
    """Trains the cross-modal encoder on shards and the components of their graph; resumes by itself."""

    shards: Location = Field(description="folder or URL of one shard set, such as shards/train")
    components: Path = Field(description="folder that the graph stage wrote from these shards")
    out: Path = Field(description="folder for checkpoints/ and, at the end, encoder/")
    epochs: int = Field(20, ge=1, description="times every video is seen; held-out videos are never trained on")
    steps: int | None = Field(None, ge=1, description="optimizer steps in all; epochs decide when absent")
    stop_after: int | None = Field(
        None, ge=1, description="steps until this start stops, to be resumed; when absent it runs to the end"
    )
    evaluate_every: int = Field(50, ge=1, description="steps between looks at the held-out videos")
    seed: int = Field(0, ge=0, description="of initial weights, order of videos and dropout")
    replace: bool = Field(
        False, description="whether to start over: deletes checkpoints/ and encoder/ in out before the first step"
    )
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    engine: EngineSettings = EngineSettings()
    batches: BatchSettings = BatchSettings()
    reading: ReadSettings = ReadSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    tracking: Tracking = Tracking()
    job: Job = Job()


def check(config: Config) -> None:
    """Raises Refusal for shards and components that are damaged or do not belong together."""
    _read(config)


def main(config: Config) -> None:
    """Trains to the last step, or to `stop_after`; every rank of the world runs this."""
    world = World.from_environment(config.seed)
    if config.job.threads:
        torch.set_num_threads(config.job.threads)  # one process has no launcher that would set OMP_NUM_THREADS
    shards, components, groups = _read(config)
    batches = Batches(config.batches, shards, components, groups, config.model.features, world)
    steps = config.steps or config.epochs * batches.order.steps_per_epoch
    engine = Engine(Transformer(config.model, batches.widths()), config.engine, world)
    torch.manual_seed(config.seed + world.rank)  # the weights are alike on all ranks, the dropout need not be
    origin = _origin(config, shards, components, groups, steps)
    checkpoints = Checkpoints(config.out / "checkpoints", config.checkpoints, world, origin)
    _say_what_was_read(config, shards, components, batches, world)
    with tracking.run(config.tracking, "pretrain", config, world.leads) as record:
        record.tags({name: origin[name] for name in ("manifest", "components", "closure", "refine")})
        if config.replace:
            _start_over(config, checkpoints, world)
        start = checkpoints.resume(engine)
        stop = min(steps, start + config.stop_after) if config.stop_after else steps
        skipped = Skipped(batches.held_out.faults)
        skipped.tell(start, record)
        clock = time.perf_counter()
        for step, batch in track(batches.from_step(start, stop), "Pre-training", stop - start, "steps"):
            if step % config.evaluate_every == 0:
                record.metrics(step, evaluate(engine, batches))
            skipped.add(batch.faults)
            seen = train_step(engine, batch, step, steps, config)
            record.metrics(step, seen | {"videos_per_second": batch.videos / (time.perf_counter() - clock)})
            if checkpoints.due(step + 1) or step + 1 == stop:
                skipped.tell(step + 1, record)
                checkpoints.save(engine, step + 1)
            clock = time.perf_counter()
        record.metrics(stop, _say_how_it_went(evaluate(engine, batches)))
        if stop == steps:
            _write_encoder(config, engine, batches, origin, record)
        else:
            say(f"Stopped after step {stop} of {steps}, as stop_after asks: {_how_to_go_on(config)}.")
    world.close()


def _read(config: Config) -> tuple[Shards, Components, Groups | None]:
    shards = Shards.open(config.shards, config.reading, config.batches.window)
    components = Components.load(config.components, shards)
    return shards, components, read_groups(config.components, shards, config.batches.per_group)


def _start_over(config: Config, checkpoints: Checkpoints, world: World) -> None:
    """The encoder goes first: were the run to die, an export must not take it for this run's."""
    if world.leads:
        shutil.rmtree(config.out / "encoder", ignore_errors=True)
    checkpoints.clear()


def _how_to_go_on(config: Config) -> str:
    return f"the same command{' without --replace' if config.replace else ''} goes on from there"


def train_step(engine: Engine, batch: Batch, step: int, steps: int, config: Config) -> dict[str, float]:
    """Compares the snippets of a global batch, takes one optimizer step, and tells what was seen, by name.

    Collective. Raises Refusal on every rank, before the optimizer's step, when the loss is not finite.
    """
    rate = learning_rate(step, steps, config.engine)
    audio, visual = engine.embed(batch.features)
    rows = [normalize(each.flatten(0, 1), dim=-1) for each in (audio, visual)]
    found = contrast(rows[0], rows[1], batch.ids.flatten(0, 1), config.loss)
    loss = found.loss.item()
    if not math.isfinite(loss):
        _refuse(loss, step, batch, (audio + visual).isfinite().all(-1).all(-1))
    engine.step(found.loss, rate)
    norm = engine.gradient_norm
    return {
        "loss": loss,
        "positive_cosine": found.positive_cosine,
        "negative_cosine": found.negative_cosine,
        "active_positives": found.active_positives,
        "active_negatives": found.active_negatives,
        "learning_rate": rate,
        **({} if norm is None else {"gradient_norm": norm}),
    }


class Skipped:
    """The videos that any rank of this start skipped.

    They are told before each checkpoint: a run that dies keeps them, and meets those after the checkpoint again.
    """

    def __init__(self, mine: Iterable[str]) -> None:
        """`mine`: one sentence for each video that this rank skipped already."""
        self._mine, self._all, self._told = set(mine), set[str](), -1

    def add(self, mine: Iterable[str]) -> None:
        """Remembers what this rank skipped since."""
        self._mine.update(mine)

    def tell(self, step: int, record: Record) -> None:
        """Counts and lists what all ranks skipped, each video once, if that is more than was told. Collective.

        Never the last thing a rank does: where gloo's thread lets go of what was gathered while Python ends, it aborts.
        """
        everyone: list[set[str]] = [set() for _ in range(dist.get_world_size())]
        dist.all_gather_object(everyone, self._mine - self._all)
        self._mine.clear()
        self._all.update(*everyone)
        if len(self._all) > self._told:
            record.skipped(step, sorted(self._all))
            self._told = len(self._all)


def evaluate(engine: Engine, batches: Batches) -> dict[str, float]:
    """The health of the embeddings of the held-out videos; the same on every rank. Collective."""
    batch = batches.held_out
    engine.train(False)
    with torch.no_grad():
        audio, visual = engine.embed(batch.features)
    engine.train(True)
    return health(normalize(audio, dim=-1), normalize(visual, dim=-1), batch.ids)


def _refuse(loss: float, step: int, batch: Batch, finite: torch.Tensor) -> None:
    """Raises on every rank alike: the loss is one number, so all ranks come here together."""
    mine = [key for key, whole in zip(batch.keys, finite.tolist(), strict=True) if not whole]
    everyone: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, mine)
    keys = [key for part in everyone for key in part]
    named = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
    raise Refusal(
        f"The loss must be finite, but is {loss} at step {step}, where these videos' embeddings are not: {named}; "
        "nothing was updated: look at these videos, or lower engine.learning_rate and start from the last checkpoint."
    )


def _origin(
    config: Config, shards: Shards, components: Components, groups: Groups | None, steps: int
) -> dict[str, Any]:
    """What fixes the course of a run: a checkpoint is resumed, and an encoder known, by it."""
    parts = config.model_dump(
        mode="json",
        include={"seed", "model", "loss", "engine", "batches"},
        exclude={"loss": {"tile"}, "batches": {"workers"}},
    )
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


def _say_how_it_went(found: dict[str, float]) -> dict[str, float]:
    if found:
        say("Held out: " + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found.items()) + ".")
    return found


def _write_encoder(config: Config, engine: Engine, batches: Batches, origin: dict[str, Any], record: Record) -> None:
    weights = engine.weights()
    if not engine.world.leads:
        return
    folder = config.out / "encoder"
    with whole_folder(folder, replace=True) as temporary:
        save_encoder(temporary, weights, config.model, batches.widths(), origin)
    record.artifact(folder / SETTINGS)  # the weights stay in one place: they can be gigabytes
    size = sum(value.numel() for value in weights.values())
    say(f"Wrote the encoder ({size:,} weights) to '{folder}', checkpoints to '{config.out / 'checkpoints'}'.")
