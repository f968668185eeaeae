"""Batches: what a rank reads at a step. Which videos that is depends on the step alone, never on the ranks before it.

A global batch is an ordered list of videos from `shards.order`; ranks take contiguous slices of it, possibly empty.
A few videos are held out, the same in every run of a shard set, for watching how the embeddings fare.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from graph.components import Components
from launch.settings import Settings
from launch.world import World
from shards.order import Order, part
from shards.read import Shards


class BatchSettings(Settings):
    """How many videos are compared with each other in a step, and how many are kept apart."""

    global_batch: int = Field(256, ge=1, description="videos a step, over all ranks; a video gives 10 snippets")
    held_out: int = Field(64, ge=0, description="videos kept from training to evaluate on; at most a fifth of all")


@dataclass(frozen=True)
class Batch:
    """One rank's videos of a global batch, in its order."""

    keys: tuple[str, ...]
    features: dict[str, Float[Tensor, "video second feature"]]
    ids: Int[Tensor, "video second"]
    """The component of every snippet; comparable over all ranks and batches."""
    videos: int
    """How many videos the global batch has, over all ranks."""


class Batches:
    """The global batches of a shard set joined with its components, as one rank of a world sees them."""

    def __init__(
        self, settings: BatchSettings, shards: Shards, components: Components, names: Sequence[str], world: World
    ) -> None:
        self._shards, self._ids, self._names, self._world = shards, components.ids, tuple(names), world
        for name in self._names:
            shards.check_feature(name)
        self._held_out, self._trained_on = _hold_out(shards.keys, settings.held_out)
        self.order = Order(shards.manifest.digest, len(self._trained_on), settings.global_batch, world.seed)

    def widths(self) -> dict[str, int]:
        """The width of each feature that is read."""
        return {name: self._shards.manifest.features[name].width for name in self._names}

    def videos(self, step: int) -> NDArray[np.int64]:
        """The places in the shard set of the whole global batch of a step."""
        return self._trained_on[self.order.batch(step)]

    def from_step(self, step: int, end: int) -> Iterator[tuple[int, Batch]]:
        """(step, this rank's part of its global batch) for every step from one to before another."""
        for number in range(step, end):
            videos = self.videos(number)
            yield number, self._read(part(videos, self._world.rank, self._world.size), len(videos))

    def held_out(self) -> Batch:
        """The videos that no step trains on: all of them on every rank, none if none are held out."""
        return self._read(self._held_out, len(self._held_out))

    def _read(self, indices: NDArray[np.int64], videos: int) -> Batch:
        arrays = self._shards.batch(indices, self._names)
        features = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        keys = tuple(self._shards.keys[index] for index in indices)
        return Batch(keys, features, torch.from_numpy(self._ids[indices]).to(self._world.device), videos)


def _hold_out(keys: Sequence[str], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which videos are held out, and which are not: the `count` of least hash, but no more than a fifth of them."""
    drawn = sorted(range(len(keys)), key=lambda index: hashlib.sha256(keys[index].encode()).digest())
    held = min(count, len(keys) // 5)
    return np.array(sorted(drawn[:held]), dtype=np.int64), np.array(sorted(drawn[held:]), dtype=np.int64)
