"""Components: which snippets belong together. The file that pre-training takes its positives from.

closure = "joint": one component id a snippet. closure = "per_modality": an audio component and a visual component. Two
snippets are a positive pair iff their ids are equal in any of these ways.

A graph folder is sealed by `graph.json`, written last: thresholds, counts, the shards' manifest digest, and the sha256
of every other file. `Components.load` believes nothing that the seal does not cover.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from graph.seal import FORMAT, sealed
from launch.refusal import Refusal
from shards.read import Shards
from shards.schema import SECONDS

FILE = "components.safetensors"
WAYS = {"joint": 1, "per_modality": 2}
"""How many component ids a snippet has under each closure."""
TOLD = ("manifest_digest", "match", "scope", "closure", "refine")
"""The words of a graph that its components carry."""


@dataclass(frozen=True)
class Components:
    """The components of every snippet of a shard set, and how they came about."""

    ids: Int64[np.ndarray, "video second way"]
    """In each way 0, 1, 2, … by first appearance in stored order; a snippet without an edge has a component of its own.

    Ways: the one component, or the audio component and the visual one; equal numbers in two ways mean nothing.
    """
    keys: tuple[str, ...]
    """The videos' keys, in stored order."""
    manifest_digest: str
    """Of the shards the graph was built from."""
    thresholds: Mapping[str, float]
    """Cosine: {"audio": τ_audio, "visual": τ_visual}."""
    match: str = "any"
    """Whether similar means in `any` or in `all` modalities."""
    scope: str = "corpus"
    """Whether edges join snippets of the whole `corpus`, or of one `video` only."""
    closure: str = "joint"
    """Whether similarity is followed across modalities (`joint`: one way) or within each (`per_modality`: two)."""
    refine: str = "none"
    """What split the components after the closure: `none`, or `propagation`."""

    def __post_init__(self) -> None:
        fault = _fault(self.ids, len(self.keys), self.closure)
        assert not fault, f"components {fault}"

    def save(self, folder: Path) -> None:
        """Writes `components.safetensors` into a graph folder that is being built; equal components are equal bytes."""
        keys = np.frombuffer("\n".join(self.keys).encode(), np.uint8)  # a key holds no control character
        about = {"format": FORMAT, "thresholds": dict(self.thresholds)} | {name: getattr(self, name) for name in TOLD}
        header = {"graph": json.dumps(about, sort_keys=True)}  # one string: safetensors orders several at random
        (folder / FILE).write_bytes(save({"ids": np.ascontiguousarray(self.ids), "keys": keys}, header))

    @classmethod
    def load(cls, folder: Path, shards: Shards) -> "Components":
        """The components of a graph folder, for the shards they were built from.

        Raises Refusal when the folder is no finished graph, when the graph belongs to another manifest, when the file
        was altered or cut short since, and when it does not hold what it must.
        """
        _, path = sealed(folder, FILE, shards)
        try:
            with safe_open(path, "np") as file:
                about, ids = json.loads(file.metadata()["graph"]), file.get_tensor("ids")
            keys, words = read_keys(path), {name: str(about[name]) for name in TOLD}
            thresholds = {str(name): float(value) for name, value in about["thresholds"].items()}
        except (SafetensorError, AttributeError, KeyError, ValueError, TypeError) as error:
            raise Refusal(
                f"Components must hold ids, keys and how they came about, but '{path}' does not ({error!r}): "
                "build the graph again."
            ) from None
        fault = _fault(ids, len(shards), words["closure"]) or ("" if keys == shards.keys else "name other videos")
        if fault:
            raise Refusal(
                f"Components must cover the shards snippet by snippet, but those in '{path}' {fault}, where "
                f"'{shards.location}' has {len(shards)} videos: build the graph of these shards again."
            )
        return cls(ids, keys, thresholds=thresholds, **words)


def _fault(ids: np.ndarray, videos: int, closure: str) -> str:
    """What is wrong with component ids for so many videos, as the words after "components"; nothing: ""."""
    if closure not in WAYS:
        return f"have closure {closure!r} instead of one of {', '.join(WAYS)}"
    shape = (videos, SECONDS, WAYS[closure])
    if ids.dtype != np.int64 or ids.shape != shape:
        return f"are {ids.dtype} of shape {ids.shape} instead of int64 of shape {shape} for closure '{closure}'"
    if ids.size and not 0 <= ids.min() <= ids.max() < videos * SECONDS:
        return f"are numbered from {ids.min()} to {ids.max()} although there are {videos * SECONDS} snippets"
    return ""


def read_keys(path: Path) -> tuple[str, ...]:
    """The keys of the videos that a components file covers, in its order."""
    with safe_open(path, "np") as file:
        return tuple(file.get_tensor("keys").tobytes().decode().split("\n"))
