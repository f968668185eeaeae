"""Checkpoints: a run's whole state in a folder that appears whole, checked before anything in it is believed.

    out/checkpoints/step-00000200/{engine/00000.safetensors, …, state.json, files.json}
    out/checkpoints/{latest,best}           the names of the newest one and of the one with the best score

Nothing in it is a pickle, and nothing in it knows how many processes wrote it. Every file's sha256 is in `files.json`,
hashes are checked before anything is read, and folder and pointers are renamed into place. A checkpoint that is torn
or altered is passed over with a sentence, and the one before it is used; what was passed over is set aside, as
`passed-over-<step>`, so that only good ones count among those kept.
"""

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import Field
from safetensors import SafetensorError

from launch.atomic import sync, whole_file
from launch.digest import sha256_file
from launch.progress import say
from launch.refusal import Refusal
from launch.room import room
from launch.settings import Settings
from launch.world import World
from pretrain.engine.engine import Engine
from pretrain.sealed import FILES, fault, seal

LATEST, BEST, STATE = "latest", "best", "state.json"
STEP, ASIDE = "step-", "passed-over-"
FORMAT = 2
"""Of what a checkpoint holds; 1 held DeepSpeed's pickles."""
SET_BY = {"manifest": "--shards", "variants": "--shards", "components": "--components", "steps": "--epochs or --steps"}
"""The settings to restore where a part of a run's identity is not the setting of its own name."""
OTHER_VERSION = (
    f"A checkpoint must hold a run's state as safetensors (format {FORMAT}), but '{{path}}' is of another version, "
    "which may hold pickles and is not read: finish the run with the version that wrote it, give another --out, or "
    "start over with --replace True."
)
UNWRITTEN = (
    "A checkpoint must be written whole, but one in '{folder}' could not be: {error} ({room}); those before it are as "
    "they were: make room or mend the disk, and the same command goes on from the newest."
)
UNDELETED = (
    "A run that starts over must have no checkpoints, but those in '{folder}' could not be deleted: {error}; what is "
    "left would be resumed: delete it yourself, or give another --out."
)


class CheckpointSettings(Settings):
    """How often a run's state is written, and how much of the past is kept."""

    every: int = Field(200, ge=1, description="steps between checkpoints; the last step always writes one")
    keep: int = Field(2, ge=1, description="newest good checkpoints kept, besides the one with the best score")


@dataclass(frozen=True)
class Found:
    """A good checkpoint of this run."""

    path: Path
    done: int
    """Steps that were done."""
    run: str
    """The MLflow run that did them."""
    processes: int
    """How many processes wrote it."""


class _Unwritten(Exception):
    """What a disk said on some rank."""


class Checkpoints:
    """The checkpoints of one run. Every method is collective; what one rank writes, all must be able to read."""

    def __init__(self, folder: Path, settings: CheckpointSettings, world: World, identity: Mapping[str, Any]) -> None:
        """`identity`: JSON values that fix the course of the run; another run's checkpoints are refused by them."""
        self._folder, self._settings, self._world = folder, settings, world
        self._identity = dict(identity)
        self._here = -1
        """The number of steps of the checkpoint that was written or loaded last."""

    def due(self, done: int) -> bool:
        """Whether a checkpoint is to be written after this many steps."""
        return done % self._settings.every == 0

    def newest(self) -> Found | None:
        """The newest good checkpoint there is; its hashes are checked, and those of newer ones, which are not good.

        Raises Refusal on every rank when it is of a run with other settings or data, or of an earlier version.
        """
        found: list[Any] = [None]
        if self._world.leads and (path := self._newest_good()):
            found = [(path, json.loads((path / STATE).read_text()))]
        dist.broadcast_object_list(found)
        if found[0] is None:
            return None
        path, state = found[0]
        if state.get("format") != FORMAT:
            raise Refusal(OTHER_VERSION.format(path=path))
        self._check_identity(path, state["identity"])
        return Found(path, state["done"], state["run"], state["processes"])

    def resume(self, engine: Engine, found: Found | None) -> int:
        """The number of steps already done, after the checkpoint that `newest` found is loaded; 0 without one.

        Newer ones, which are not good, are set aside.
        """
        if self._world.leads:
            self._set_aside_newer(found)
        if found is None:
            return 0
        engine.load(found.path)
        self._here = found.done
        others = "" if found.processes == self._world.size else f", which {found.processes} processes wrote"
        say(f"Resumed after step {found.done} from '{found.path}'{others}.")
        return found.done

    def save(self, engine: Engine, done: int, run: str = "", score: float | None = None) -> None:
        """Writes the state after `done` steps and moves `latest` to it; then deletes the oldest.

        `run` is the MLflow run that a resumed start goes on with. The checkpoint with the highest score is kept,
        however old, and `best` names it. Raises Refusal on every rank when any could not write its part; earlier
        checkpoints stay as they are.
        """
        if done == self._here:
            return
        partial = self._folder / f".{STEP}{done:08d}.part"
        scored = None if score is None or math.isnan(score) else score
        state = {"format": FORMAT, "done": done, "run": run, "processes": self._world.size, "score": scored}
        try:
            self._together(lambda: _make_anew(partial), alone=True)
            self._together(lambda: engine.save(partial))
            self._together(lambda: self._publish(partial, state), alone=True)
        except _Unwritten as error:
            if self._world.leads:
                shutil.rmtree(partial, ignore_errors=True)
            dist.barrier()  # what is free is known now
            free = room(_there(self._folder), engine.size())
            raise Refusal(UNWRITTEN.format(folder=self._folder, error=error, room=free)) from None
        self._here = done

    def told(self) -> dict[str, str]:
        """What the run says of the newest one: where it is, and the digest of the list of its files' digests."""
        newest = next(iter(self._all()), None)
        if newest is None:
            return {}
        best = self._best()
        told = {"checkpoint": str(newest.absolute()), "checkpoint.digest": sha256_file(newest / FILES)}
        return told | ({"checkpoint.best": str(best.absolute())} if best else {})

    def clear(self) -> None:
        """Deletes every checkpoint there is. Raises Refusal on every rank when one is left, which would be resumed."""
        folder = self._folder
        try:
            self._together(lambda: shutil.rmtree(folder) if folder.exists() else None, alone=True)
        except _Unwritten as error:
            raise Refusal(UNDELETED.format(folder=folder, error=error)) from None

    def _together(self, act: Callable[[], None], alone: bool = False) -> None:
        """Lets every rank act, or the leading one alone, and waits for all; _Unwritten everywhere if any failed."""
        mine = ""
        try:
            if self._world.leads or not alone:
                act()
        except (OSError, SafetensorError) as error:
            mine = str(error)
        failed = torch.tensor(float(bool(mine)), device=self._world.device)
        dist.all_reduce(failed)
        if not failed:
            return
        everyone: list[str] = [""] * self._world.size
        dist.all_gather_object(everyone, mine)
        raise _Unwritten(next(filter(None, everyone)))

    def _publish(self, partial: Path, state: Mapping[str, Any]) -> None:
        (partial / STATE).write_text(json.dumps({**state, "identity": self._identity}, indent=1))
        seal(partial)
        target = self._folder / f"{STEP}{state['done']:08d}"
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        sync(self._folder)
        self._point(LATEST, target)
        best = self._best()
        self._point(BEST, best)
        for old in self._all()[self._settings.keep :]:
            if old != best:
                try:
                    shutil.rmtree(old)
                except OSError as error:  # no harm to the one just written
                    say(f"The old checkpoint '{old}' could not be deleted: {error}; it takes room until you delete it.")

    def _newest_good(self) -> Path | None:
        for candidate in self._all():
            wrong = fault(candidate)
            if wrong is None:
                return candidate
            say(f"Passed over the checkpoint '{candidate}': {wrong}.")
        return None

    def _set_aside_newer(self, resumed: Found | None) -> None:
        for killed in self._folder.glob(f".{STEP}*.part"):
            shutil.rmtree(killed)
        for newer in self._all():
            if resumed is not None and newer.name <= resumed.path.name:
                break
            aside = self._folder / newer.name.replace(STEP, ASIDE)
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(newer, aside)
            say(f"Set aside '{newer}' as '{aside.name}': nothing reads it again, so delete it when you like.")
        if resumed is not None:
            self._point(LATEST, resumed.path)
            self._point(BEST, self._best())

    def _point(self, name: str, to: Path | None) -> None:
        if to is None:
            (self._folder / name).unlink(missing_ok=True)
            return
        with whole_file(self._folder / name) as pointer:
            pointer.write_text(to.name)

    def _all(self) -> list[Path]:
        """The checkpoints there are, from the newest to the oldest."""
        return sorted(self._folder.glob(f"{STEP}*"), reverse=True)

    def _best(self) -> Path | None:
        """The one with the highest score, the oldest of several; None where none has a score."""
        scores = {path: score for path in reversed(self._all()) if (score := _score(path)) is not None}
        return max(scores, key=scores.__getitem__, default=None)

    def _check_identity(self, path: Path, written: Mapping[str, Any]) -> None:
        difference = _difference(written, self._identity)
        if difference:
            name, then, now = difference
            setting = SET_BY.get(name.split(".", maxsplit=1)[0], f"--{name}")
            raise Refusal(
                f"A run must resume with what it started with, but '{name}' is {then!r} in '{path}' and {now!r} now: "
                f"restore {setting}, give another --out, or start over with --replace True."
            )


def _there(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


def _make_anew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _score(folder: Path) -> float | None:
    try:
        score = json.loads((folder / STATE).read_text()).get("score")
    except (OSError, ValueError):
        return None
    return None if score is None else float(score)


def _difference(written: Any, wanted: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first value that differs: its dotted name, what is written, and what is wanted; None if all are equal."""
    if isinstance(written, Mapping) and isinstance(wanted, Mapping):
        inner = {**wanted, **written}
        found = (_difference(written.get(key), wanted.get(key), f"{name}.{key}".lstrip(".")) for key in inner)
        return next((difference for difference in found if difference), None)
    return None if written == wanted else (name, written, wanted)
