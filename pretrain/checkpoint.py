"""Checkpoints: a run's whole state in a folder that appears whole, checked before anything in it is believed.

    out/checkpoints/step-00000200/{engine/…, rng-<rank>.safetensors, state.json, files.json}
    out/checkpoints/latest                  the name of the newest one

DeepSpeed's files are pickles, and its own `latest` is written in place. So every file's sha256 is in `files.json`,
hashes are checked before a pickle is opened, and folder and pointer are renamed into place. A checkpoint that is torn
or altered is passed over with a sentence, and the one before it is used.
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
from pretrain.engine import Engine

LATEST, FILES, STATE = "latest", "files.json", "state.json"


class CheckpointSettings(Settings):
    """How often a run's state is written, and how much of the past is kept."""

    every: int = Field(200, ge=1, description="steps between checkpoints; the last step always writes one")
    keep: int = Field(2, ge=1, description="checkpoints kept; older ones are deleted")


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
        target = self._folder / f"step-{done:08d}"
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
            with whole_file(self._folder / LATEST) as pointer:
                pointer.write_text(target.name)
            for old in self._all()[self._settings.keep :]:
                shutil.rmtree(old)
        self._world.barrier()

    def resume(self, engine: Engine) -> int:
        """The number of steps already done: those of the newest good checkpoint, which is loaded; 0 without one.

        Raises Refusal when that checkpoint is of a run with other settings, data or number of processes.
        """
        if self._world.leads:
            for torn in self._folder.glob(".step-*.part"):
                shutil.rmtree(torn)
        found = [self._newest_good() if self._world.leads else None]
        dist.broadcast_object_list(found)
        if found[0] is None:
            return 0
        state = json.loads((found[0] / STATE).read_text())
        self._check_identity(found[0], state["identity"])
        engine.load(found[0])
        _restore_random_states(load_file(found[0] / f"rng-{self._world.rank}.safetensors"))
        say(f"Resumed after step {state['done']} from '{found[0]}'.")
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

    def _all(self) -> list[Path]:
        """The checkpoints there are, the one `latest` names first, then from the newest to the oldest."""
        pointer = self._folder / LATEST
        named = pointer.read_text() if pointer.is_file() else ""
        return sorted(self._folder.glob("step-*"), key=lambda path: (path.name == named, path.name), reverse=True)

    def _check_identity(self, path: Path, found: Mapping[str, Any]) -> None:
        for name, value in self._identity.items():
            if found.get(name) != value:
                raise Refusal(
                    f"A run must resume with what it started with, but '{name}' of '{path}' is {found.get(name)!r} "
                    f"instead of {value!r}: restore that setting, or give another --out."
                )


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
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
