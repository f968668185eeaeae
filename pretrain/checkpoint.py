"""Checkpoints: a run's whole state in a folder that appears whole, checked before anything in it is believed.

    out/checkpoints/step-00000200/{engine/…, rng-<rank>.safetensors, state.json, files.json}
    out/checkpoints/latest                  the name of the newest one

DeepSpeed's files are pickles, and its own `latest` is written in place. So every file's sha256 is in `files.json`,
hashes are checked before a pickle is opened, and folder and pointer are renamed into place. A checkpoint that is torn
or altered is passed over with a sentence, and the one before it is used; what was passed over is set aside, as
`passed-over-<step>`, so that only good ones count among those kept.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import Field
from safetensors.torch import load_file, save_file

from launch.atomic import whole_file
from launch.digest import sha256_file
from launch.progress import say
from launch.refusal import Refusal
from launch.settings import Settings
from launch.world import World
from pretrain.engine.engine import Engine

LATEST, FILES, STATE = "latest", "files.json", "state.json"
STEP, ASIDE = "step-", "passed-over-"
SET_BY = {
    "manifest": "--shards",
    "variants": "--shards",
    "components": "--components",
    "steps": "--epochs or --steps",
    "processes": "--job.processes",
}
"""The settings to restore where a part of a run's identity is not the setting of its own name."""


class CheckpointSettings(Settings):
    """How often a run's state is written, and how much of the past is kept."""

    every: int = Field(200, ge=1, description="steps between checkpoints; the last step always writes one")
    keep: int = Field(2, ge=1, description="good checkpoints kept; older ones are deleted")


class Checkpoints:
    """The checkpoints of one run. Every method is collective; what one rank writes, all must be able to read."""

    def __init__(self, folder: Path, settings: CheckpointSettings, world: World, identity: Mapping[str, Any]) -> None:
        """`identity`: JSON values that fix the course of the run; another run's checkpoints are refused by them."""
        self._folder, self._settings, self._world = folder, settings, world
        self._identity = {**identity, "processes": world.size}

    def due(self, done: int) -> bool:
        """Whether a checkpoint is to be written after this many steps."""
        return done % self._settings.every == 0

    def save(self, engine: Engine, done: int) -> None:
        """Writes the state after `done` steps and moves `latest` to it; then deletes the oldest."""
        target = self._folder / f"{STEP}{done:08d}"
        partial = self._folder / f".{target.name}.part"
        if self._world.leads:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self._world.barrier()
        engine.save(partial)
        save_file(_random_states(), partial / f"rng-{self._world.rank}.safetensors")
        self._world.barrier()
        if self._world.leads:
            (partial / STATE).write_text(json.dumps({"done": done, "identity": self._identity}, indent=1))
            _seal(partial)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
            self._point_at(target)
            for old in self._all()[self._settings.keep :]:
                shutil.rmtree(old)
        self._world.barrier()

    def resume(self, engine: Engine) -> int:
        """The number of steps already done: those of the newest good checkpoint, which is loaded; 0 without one.

        Newer ones, which are not good, are set aside. Raises Refusal, and touches nothing, when the checkpoint is of a
        run with other settings, data or number of processes.
        """
        found = [self._newest_good() if self._world.leads else None]
        dist.broadcast_object_list(found)
        state: dict[str, Any] = {"done": 0}
        if found[0] is not None:
            state = json.loads((found[0] / STATE).read_text())
            self._check_identity(found[0], state["identity"])
            engine.load(found[0])
            _restore_random_states(load_file(found[0] / f"rng-{self._world.rank}.safetensors"))
            say(f"Resumed after step {state['done']} from '{found[0]}'.")
        if self._world.leads:
            self._set_aside_newer(found[0])
        return int(state["done"])

    def clear(self) -> None:
        """Deletes every checkpoint there is."""
        if self._world.leads:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._world.barrier()

    def _newest_good(self) -> Path | None:
        for candidate in self._all():
            fault = _fault(candidate)
            if fault is None:
                return candidate
            say(f"Passed over the checkpoint '{candidate}': {fault}.")
        return None

    def _set_aside_newer(self, resumed: Path | None) -> None:
        for killed in self._folder.glob(f".{STEP}*.part"):
            shutil.rmtree(killed)
        for newer in self._all():
            if resumed is not None and newer.name <= resumed.name:
                break
            aside = self._folder / newer.name.replace(STEP, ASIDE)
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(newer, aside)
            say(f"Set aside '{newer}' as '{aside.name}': nothing reads it again, so delete it when you like.")
        if resumed is not None:
            self._point_at(resumed)

    def _point_at(self, newest: Path) -> None:
        with whole_file(self._folder / LATEST) as pointer:
            pointer.write_text(newest.name)

    def _all(self) -> list[Path]:
        """The checkpoints there are, from the newest to the oldest."""
        return sorted(self._folder.glob(f"{STEP}*"), reverse=True)

    def _check_identity(self, path: Path, written: Mapping[str, Any]) -> None:
        difference = _difference(written, self._identity)
        if difference:
            name, then, now = difference
            setting = SET_BY.get(name.split(".", maxsplit=1)[0], f"--{name}")
            raise Refusal(
                f"A run must resume with what it started with, but '{name}' is {then!r} in '{path}' and {now!r} now: "
                f"restore {setting}, give another --out, or start over with --replace True."
            )


def _difference(written: Any, wanted: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first value that differs: its dotted name, what is written, and what is wanted; None if all are equal."""
    if isinstance(written, Mapping) and isinstance(wanted, Mapping):
        inner = {**wanted, **written}
        found = (_difference(written.get(key), wanted.get(key), f"{name}.{key}".lstrip(".")) for key in inner)
        return next((difference for difference in found if difference), None)
    return None if written == wanted else (name, written, wanted)


def _seal(folder: Path) -> None:
    """Flushes every file to the disk and lists it with its sha256 in `files.json`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {str(path.relative_to(folder)): sha256_file(path) for path in files}
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    with whole_file(folder / FILES) as listed:
        listed.write_text(json.dumps(hashes, indent=1))


def _fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None for one whose files are exactly the listed ones, unaltered."""
    try:
        hashes: dict[str, str] = json.loads((folder / FILES).read_text())
    except (OSError, ValueError):
        return f"its list {FILES} is missing or damaged"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {FILES}
    if there != set(hashes):
        name = sorted(there ^ set(hashes))[0]
        return f"'{name}' is {'missing' if name in hashes else 'not in its list'}"
    altered = [name for name, expected in sorted(hashes.items()) if sha256_file(folder / name) != expected]
    return f"'{altered[0]}' is not as it was written" if altered else None


def _random_states() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random_states(states: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
