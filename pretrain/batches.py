"""Batches: what a rank reads at a step. Which videos that is depends on the step alone, never on the ranks before it.

A global batch is an ordered list of videos from `shards.order`; ranks take contiguous slices of it, possibly empty.
A few videos are held out, the same in every run of a shard set, for watching how the embeddings fare.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from graph.components import Components
from graph.groups import GROUPS
from graph.seal import sealed
from launch.settings import Settings
from launch.world import World
from shards.groups import Groups
from shards.loader import Parts
from shards.order import Order
from shards.present import as_told, snippets_there, told_by
from shards.read import Shards
from shards.schema import SECONDS, seconds_of


class BatchSettings(Settings):
    """How many videos are compared with each other in a step, which of them meet, and who reads them."""

    global_batch: int = Field(256, ge=1, description="videos a step, over all ranks; a video gives 10 snippets")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="videos a rank encodes at a time, each twice; when absent all at once, and once: memory, not "
        "result, but for dropout, whose draws are the same on any number of ranks if it divides every rank's part",
    )
    held_out: int = Field(64, ge=0, description="videos kept from training to evaluate on; at most a fifth of all")
    window: int = Field(
        16, ge=1, description="shards whose videos are mixed; of a remote set so many and one more are kept on a host"
    )
    per_group: int = Field(
        1, ge=1, description="videos that share a component and are kept in one step; 1 leaves it to chance"
    )
    workers: int = Field(
        0, ge=0, description="processes of each rank that read ahead; 0: it reads by itself, which costs less in all"
    )

    @model_validator(mode="after")
    def _groups_fit_into_a_batch(self) -> "BatchSettings":
        if self.per_group > self.global_batch:
            raise ValueError(
                f"per_group must be at most global_batch, but {self.per_group} > {self.global_batch}: lower per_group"
            )
        return self


@dataclass(frozen=True)
class MicroBatch:
    """Consecutive videos of a global batch that a rank encodes at a time."""

    features: dict[str, Float[Tensor, "video second feature"]]
    present: Bool[Tensor, "video modality second"] | None
    first: int
    """The position in the global batch of its first video."""


@dataclass(frozen=True)
class Batch:
    """One rank's videos of a global batch, in its order."""

    keys: tuple[str, ...]
    features: dict[str, Float[Tensor, "video second feature"]]
    ids: Int[Tensor, "video second way"]
    """The component of every snippet in each way; comparable over all ranks and batches."""
    videos: int
    """How many videos the global batch has, over all ranks; those that were skipped count."""
    faults: tuple[str, ...]
    """One sentence for each of this rank's videos that was skipped."""
    present: Bool[Tensor, "video modality second"] | None = None
    """Which snippets there are, of each modality; None, on every rank and in every batch, where every video of the
    shard set has all seconds and the set says no more."""
    first: int = 0
    """The position in the global batch of this rank's first video."""
    epoch: int = 0

    def micro_batches(self, length: int | None, ranks: int) -> list[MicroBatch]:
        """This rank's videos, `length` at a time (None: at once); as many parts on every rank, the last perhaps empty.

        Encoding is collective, so how many there are follows from the global batch and the number of ranks alone.
        """
        longest = -(-self.videos // ranks)
        length = length or max(longest, 1)
        starts = range(0, max(longest, 1), length)
        return [self._from(at, at + length) for at in starts]

    def _from(self, start: int, end: int) -> MicroBatch:
        features = {name: array[start:end] for name, array in self.features.items()}
        return MicroBatch(features, None if self.present is None else self.present[start:end], self.first + start)


class Batches:
    """The global batches of a shard set joined with its components, as one rank of a world sees them."""

    def __init__(
        self,
        settings: BatchSettings,
        shards: Shards,
        components: Components,
        groups: Groups | None,
        names: Sequence[str],
        world: World,
    ) -> None:
        self._shards, self._ids, self._world, self._workers = shards, components.ids, world, settings.workers
        self._names, self._told = tuple(names), told_by(shards.manifest.features)
        self._masked = bool(self._told) or any(seconds_of(key) < SECONDS for key in shards.keys)
        for name in names:
            shards.check_feature(name)
        held_out, trained_on = _hold_out(shards.keys, settings.held_out)
        counts = np.bincount(shards.shard_of[trained_on], minlength=len(shards.manifest.shards))
        self.order = Order(
            shards.manifest.digest,
            tuple(counts.tolist()),
            settings.global_batch,
            world.seed,
            settings.window,
            groups and groups.only(trained_on),
        )
        pin = world.device.type == "cuda"
        self._parts = Parts(shards, self.order, self._names + self._told, trained_on, world.rank, world.size, pin)
        self.held_out = self._read_all(held_out)
        """The videos that no step trains on: all of them on every rank, none if none are held out."""

    def widths(self) -> dict[str, int]:
        """The width of each feature that is read."""
        return {name: self._shards.manifest.features[name].width for name in self._names}

    def from_step(self, step: int, end: int) -> Iterator[tuple[int, Batch]]:
        """(step, this rank's part of its global batch) for every step from one to before another."""
        for part in self._parts.between(step, end, self._workers):
            first, _ = self.order.bounds(part.step, self._world.rank, self._world.size)
            batch = self._batch(part.places, part.features, self.order.length(part.step), part.faults)
            yield part.step, replace(batch, first=first, epoch=part.step // self.order.steps_per_epoch)

    def _read_all(self, places: NDArray[np.int64]) -> Batch:
        rows = self._shards.batch(places, self._names + self._told)
        features = {name: torch.from_numpy(array) for name, array in rows.features.items()}
        return self._batch(rows.places, features, len(places), rows.faults)

    def _batch(
        self, places: NDArray[np.int64], features: dict[str, Tensor], videos: int, faults: tuple[str, ...]
    ) -> Batch:
        keys = tuple(self._shards.keys[place] for place in places)
        ids = torch.from_numpy(self._ids[places]).to(self._world.device)
        present = None
        if self._masked:
            told = [as_told(features[name].numpy(), self._shards.location) for name in self._told]
            present = present_snippets(keys, *told).to(self._world.device)
        read = {name: features[name] for name in self._names}
        return Batch(keys, read, ids, videos, faults, present)


def present_snippets(
    keys: Sequence[str], told: Bool[np.ndarray, "modality video second"] | None = None
) -> Bool[Tensor, "video modality second"]:
    """Which snippets of these videos there are, by the times in their keys and what their set told of them, if it
    did."""
    return torch.from_numpy(snippets_there(keys, told)).transpose(0, 1).contiguous()


def read_groups(folder: Path, shards: Shards, per_group: int) -> Groups | None:
    """The groups that the graph stage found for these shards; None where none are to be kept together.

    Raises Refusal as `graph.components.sealed` does, and for a file that holds no groups.
    """
    if per_group == 1:
        return None
    _, path = sealed(folder, GROUPS, shards)
    return Groups.read(path, len(shards), per_group)


def _hold_out(keys: Sequence[str], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which videos are held out, and which are not: the `count` of least hash, but no more than a fifth of them."""
    drawn = sorted(range(len(keys)), key=lambda index: hashlib.sha256(keys[index].encode()).digest())
    held = min(count, len(keys) // 5)
    return np.array(sorted(drawn[:held]), dtype=np.int64), np.array(sorted(drawn[held:]), dtype=np.int64)
