"""The state of a training that is not finished: named tensors and numbers, whole or not at all, without pickles.

    state.json                  the numbers, which file the tensors are in and its sha256, sealed by a sha256 of its own
    step-00000625.safetensors   the tensors

The tensors come first, under a name of their own, and `state.json` is renamed into place last: whenever a process is
killed, the two that are there belong together.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from launch.atomic import whole_file
from launch.digest import sha256_file, sha256_json
from launch.refusal import Refusal
from launch.room import room

STATE, PATTERN = "state.json", "step-*.safetensors"


@dataclass(frozen=True)
class State:
    """Where a training is, between two of its steps."""

    tensors: dict[str, Tensor]
    """By "<part>/<name>"."""
    numbers: dict[str, Any]
    """JSON values; "step" counts the steps that are done."""


class Saved:
    """The newest state of one training, in a folder that nothing else writes to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, state: State) -> None:
        """Lets this state take the place of the one before; raises Refusal, and leaves that one, when it cannot."""
        name = PATTERN.replace("*", f"{state.numbers['step']:08d}")
        before = {path.name for path in self._folder.glob(PATTERN)}
        try:
            with whole_file(self._folder / name) as temporary:
                save_file({key: tensor.contiguous() for key, tensor in state.tensors.items()}, temporary)
            content = {"numbers": state.numbers, "file": name, "sha256": sha256_file(self._folder / name)}
            with whole_file(self._folder / STATE) as temporary:
                temporary.write_text(json.dumps(content | {"seal": sha256_json(content)}, indent=1))
            for old in self._folder.glob(PATTERN):
                if old.name != name:
                    old.unlink()
        except (OSError, SafetensorError) as error:
            if name not in before:
                (self._folder / name).unlink(missing_ok=True)
            free = room(self._folder, sum(tensor.nbytes for tensor in state.tensors.values()))
            raise Refusal(
                f"The state of a training must be written whole, but in '{self._folder}' it could not be: {error} "
                f"({free}); the one before is as it was: make room or mend the disk, and the same command goes on "
                "from it."
            ) from None

    def read(self) -> State | None:
        """The newest state, its tensors on the CPU; None where there is none. Raises Refusal when it was altered."""
        for killed in self._folder.glob(".*.part"):
            killed.unlink()
        if not (self._folder / STATE).exists():
            return None
        try:
            content = json.loads((self._folder / STATE).read_text())
            if content.pop("seal") != sha256_json(content):
                raise ValueError(f"{STATE} was altered")
            path = self._folder / content["file"]
            if sha256_file(path) != content["sha256"]:
                raise ValueError(f"{path.name} was altered")
            return State(load_file(path), content["numbers"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise Refusal(
                f"A training must go on from its state as it was written, but that in '{self._folder}' is not "
                f"({type(error).__name__}: {error}): delete '{self._folder.parent}', and the same command starts over."
            ) from None

    def forget(self) -> None:
        """Deletes the state, so that nothing goes on from it."""
        for file in (self._folder / STATE, *self._folder.glob(PATTERN)):
            file.unlink(missing_ok=True)


def flat(**parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of several parts under "<part>/<name>"."""
    return {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """One part of what `flat` made, by the names it had."""
    return {key.removeprefix(f"{name}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{name}/")}
