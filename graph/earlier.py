"""An earlier graph to build on: what it knows of the videos that it shares with the shards in use.

Its videos may stand anywhere in the new shards, but all of them must be there, with the very same rows: digests tell.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from graph.components import FILE, read_keys
from graph.config import Config
from graph.corpus import Earlier
from graph.modality import Modality
from graph.rows.matrix import Matrix
from graph.seal import read_seal, sealed_file
from graph.search.neighbours import Neighbours
from launch.refusal import Refusal
from shards.read import Shards
from shards.schema import SECONDS

ROWS = "rows.safetensors"
KEPT = ("feature_audio", "feature_visual", "floor_audio", "floor_visual", "rows", "scope")
"""Settings that must be as they were; and of `search`, k."""


@dataclass(frozen=True)
class Before:
    """A graph folder that is built on."""

    folder: Path
    place: np.ndarray
    """Where each of its snippets stands in the shards in use."""
    keys: Sequence[str]
    rows: dict[str, np.ndarray]
    """`digests_{modality}`, and `mean_{modality}` where rows were centred."""
    made: dict[str, str]
    """What was done to the rows of each modality."""

    @classmethod
    def load(cls, config: Config, shards: Shards) -> "Before":
        """The graph in `config.base`; raises Refusal when it cannot be built on."""
        folder = config.base
        assert folder is not None, "only a graph that is built on something loads it"
        facts = read_seal(folder)
        _check_settings(config, facts["settings"], folder)
        keys = read_keys(sealed_file(folder, FILE, facts))
        stands = {key: place for place, key in enumerate(shards.keys)}
        missing = [key for key in keys if key not in stands]
        if missing:
            raise Refusal(
                f"A graph can be added to, not taken from: every video of '{folder}' must be in '{config.shards}', but "
                f"{len(missing)} of {len(keys)} are not, '{missing[0]}' for one: build without base."
            )
        videos = np.array([stands[key] for key in keys], np.int64)
        place = (videos[:, None] * SECONDS + np.arange(SECONDS)).ravel()
        rows = load_file(sealed_file(folder, ROWS, facts))
        return cls(folder, place, keys, rows, json.loads(rows.pop("about").tobytes()))

    def mean(self, name: str) -> np.ndarray | None:
        """The mean that was subtracted from a modality's rows, if one was: its lists are of such cosines."""
        return self.rows.get(f"mean_{name}")

    def of(self, name: str, matrix: Matrix) -> Earlier:
        """What it knows of one modality; raises Refusal when a video's rows are not those it was built from."""
        if self.made[name] != matrix.made:
            raise Refusal(
                f"Rows must be made as those of the graph that is built on, but '{matrix.feature}' is {matrix.made}, "
                f"and '{self.folder}' was built from rows {self.made[name]}: set rows.project_above and "
                "rows.project_to alike, or build without base."
            )
        changed = (self.rows[f"digests_{name}"] != matrix.digests[self.place]).any(axis=1)
        if changed.any():
            first = int(np.argmax(changed))
            raise Refusal(
                f"A video's rows must be those that the graph which is built on was made from, but '{matrix.feature}' "
                f"of '{self.keys[first // SECONDS]}' changed in second {first % SECONDS} ({int(changed.sum())} rows in "
                "all): build without base."
            )
        facts = read_seal(self.folder)
        lists = Neighbours.load(sealed_file(self.folder, f"neighbours_{name}.safetensors", facts))
        return Earlier(lists, self.place, bool(facts["exact"][name]))


def save_rows(sides: Sequence[Modality], folder: Path) -> None:
    """Writes what a later graph needs to build on this one: the rows' digests, means, and how they were made."""
    about = json.dumps({side.name: side.matrix.made for side in sides}, sort_keys=True).encode()
    tensors = {"about": np.frombuffer(about, np.uint8)}
    for side in sides:
        tensors[f"digests_{side.name}"] = side.matrix.digests
        if side.matrix.mean is not None:
            tensors[f"mean_{side.name}"] = side.matrix.mean
    (folder / ROWS).write_bytes(save(tensors))


def _check_settings(config: Config, before: dict[str, Any], folder: Path) -> None:
    now = config.model_dump(mode="json")
    differing = [name for name in KEPT if now[name] != before[name]]
    differing += ["search.k"] if now["search"]["k"] != before["search"]["k"] else []
    if differing:
        raise Refusal(
            f"A graph must be built with the settings of the one it builds on, but {', '.join(differing)} differ from "
            f"'{folder}': give the same, or build without base."
        )
