"""One rank's parts of the global batches, in order: read by this process, or ahead of it by loader processes.

Which videos a part holds is the order's word alone, so nothing here can change a global batch: loader process w of n
reads the steps start + w, start + w + n, …, and parts are handed over step by step. Loader processes end when they are
done, and within seconds when the process that started them was killed.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data._utils.worker import WorkerInfo

from launch.preemption import outlive_a_request
from launch.refusal import Refusal
from shards.order import Order
from shards.read import Shards


@dataclass(frozen=True)
class Part:
    """One rank's part of the global batch of a step, as it was read."""

    step: int
    places: Int64[np.ndarray, " video"]
    """In the shard set, in the batch's order, less the skipped."""
    features: dict[str, Float[Tensor, "video second width"]]
    """By name, in the stored type; pinned where that was asked for."""
    faults: tuple[str, ...]
    """One sentence a skipped video."""

    def pin_memory(self) -> "Part":
        """The same part in pinned memory: what torch's loader asks for."""
        return replace(self, features={name: array.pin_memory() for name, array in self.features.items()})


class Parts(Dataset["Part | Refusal"]):
    """What one rank reads, step by step: `read(step)`; as a data set of torch, so that its processes can read it."""

    def __init__(
        self,
        shards: Shards,
        order: Order,
        names: tuple[str, ...],
        places: Int64[np.ndarray, " video"],
        rank: int,
        size: int,
        pin: bool = False,
    ) -> None:
        """`places` says where in the shard set each video of the order lies."""
        self.shards, self.order, self.names, self.places = shards, order, names, places
        self.rank, self.size, self.pin = rank, size, pin
        self.stop = 0
        """The step before which this reader ends."""

    def between(self, start: int, stop: int, workers: int = 0) -> Iterator[Part]:
        """The parts from one step to before another, read ahead by so many loader processes (0: read when asked for).

        Raises Refusal as the shards do, whichever process met it, and ChildProcessError when a loader process died.
        """
        self.stop = stop
        found: Part | Refusal
        try:
            for found in self._loader(start, stop, workers) if workers else map(self.__getitem__, range(start, stop)):
                if isinstance(found, Refusal):
                    raise found
                yield found
        except (EOFError, ConnectionError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise ChildProcessError(
                "A loader process must live until its parts are read, but one died (it may have been out of memory: "
                "use fewer of them)."
            ) from None

    def __getitem__(self, step: int) -> "Part | Refusal":
        """A part; or the refusal itself, since torch would wrap one that is raised in a traceback."""
        try:
            return self.read(step)
        except Refusal as refusal:
            return refusal

    def read(self, step: int) -> Part:
        """This rank's part of the global batch of a step; tells the shards what this reader needs, and needs next."""
        pieces = self.order.pieces(step, self.rank, self.size)
        tensors = self._empty(sum(len(piece.places) for piece in pieces))
        read, faults = [np.zeros(0, np.int64)], list[str]()
        for piece in pieces:
            self.shards.prepare(self.order.shards(piece.window), piece.window)
            filled = sum(map(len, read))
            out = {name: tensor.numpy()[filled : filled + len(piece.places)] for name, tensor in tensors.items()}
            rows = self.shards.batch(self.places[piece.places], self.names, out)
            if rows.faults:  # then what was read is no longer where it was read into
                for name, array in out.items():
                    array[: len(rows.places)] = rows.features[name]
            read.append(rows.places)
            faults.extend(rows.faults)
        self._announce(step)
        places = np.concatenate(read)
        return Part(step, places, {name: tensor[: len(places)] for name, tensor in tensors.items()}, tuple(faults))

    def _announce(self, step: int) -> None:
        """Tells the shards the window of the step that this reader reads next, so that earlier ones can be let go."""
        worker = get_worker_info()
        following = step + (worker.num_workers if worker else 1)
        pieces = self.order.pieces(following, self.rank, self.size) if following < self.stop else []
        window = pieces[0].window if pieces else self.order.window_at(following)
        self.shards.prepare(self.order.shards(window) if pieces else (), window)

    def _empty(self, videos: int) -> dict[str, Tensor]:
        """Tensors for so many videos; pinned by this process, or later by torch where a loader process reads."""
        pin = self.pin and get_worker_info() is None
        arrays = self.shards.empty(0, self.names)
        return {
            name: torch.empty((videos, *array.shape[1:]), dtype=torch.from_numpy(array).dtype, pin_memory=pin)
            for name, array in arrays.items()
        }

    def _loader(self, start: int, stop: int, workers: int) -> "DataLoader[Part | Refusal]":
        return DataLoader(
            self,
            sampler=range(start, stop),
            batch_size=None,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=self.pin,
            worker_init_fn=_open_anew,
            generator=torch.Generator(),  # the run's own stays as it is, or dropout would depend on `workers`
        )


def _as_it_is(part: Any) -> Any:
    return part


def _open_anew(worker: int) -> None:
    """Gives a loader process shards of its own: what the parent has opened is not meant for two.

    A scheduler's SIGTERM, which reaches it as well as its rank, is the rank's to answer.
    """
    outlive_a_request()
    parts: Any = cast(WorkerInfo, get_worker_info()).dataset
    parts.shards = copy(parts.shards)
