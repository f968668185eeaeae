"""Which videos belong together, and how a window lays them out so that a global batch holds several of the same group.

A window's videos of one group are cut into *bundles* of K; whoever is left alone, or is in no group, is *fill*. Bundles
and fill are mixed at random, and a bundle that would straddle the border of a global batch waits until fill has closed
the gap. Only where no fill is left is it split: the sizes of batches, and every video once, always win.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from launch.refusal import Refusal

NONE = -1
"""The id of a video that is in no group."""


@dataclass(frozen=True, eq=False)
class Groups:
    """One group id a video, and how many videos of a group are kept together."""

    ids: NDArray[np.int64]
    """(video,) in stored order; -1 where a video is in no group."""
    per_group: int
    """K: videos of one group that are kept in one global batch; 1 keeps none together."""
    digest: str
    """The sha256 of the ids of the whole shard set: part of the order's identity."""

    @classmethod
    def of(cls, ids: NDArray[np.int64], per_group: int) -> "Groups":
        """Groups of a whole shard set."""
        return cls(ids, per_group, hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest())

    @classmethod
    def read(cls, path: Path, videos: int, per_group: int) -> "Groups":
        """The groups in a `.npy` file: int64, one id for each of so many videos.

        Raises Refusal when the file is missing, is no array (or a pickled one), or has another type, shape or ids.
        """
        try:
            ids = np.lib.format.open_memmap(path, mode="r")  # believes no header beyond the file, and no pickle
        except (OSError, ValueError) as error:
            raise Refusal(
                f"Groups must be an array in a .npy file, but '{path}' is not ({_first_line(error)}): "
                "build the graph again, or np.save an int64 array."
            ) from None
        if ids.dtype != np.int64 or ids.shape != (videos,):
            raise Refusal(
                f"Groups must be int64 of shape ({videos},), one id a video in stored order, but '{path}' holds "
                f"{ids.dtype} of shape {ids.shape}: build the graph of these shards again."
            )
        if ids.min() < NONE:
            raise Refusal(
                f"A group's id must be 0 or more, or {NONE} for none, but '{path}' holds {ids.min()} for video "
                f"{ids.argmin()}: number the groups from 0."
            )
        return cls.of(np.array(ids), per_group)

    def only(self, places: NDArray[np.int64]) -> "Groups":
        """The groups of some of the videos, in their order; they keep the digest of the whole."""
        return Groups(self.ids[places], self.per_group, self.digest)


def lay_out(
    ids: NDArray[np.int64], per_group: int, room: int, global_batch: int, words: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """The order in which a window's videos are read, as positions in `ids`: a permutation.

    `room` is how many videos fit before the window meets the first border of a global batch; borders follow every
    `global_batch` videos, and K must not exceed it. `words` are random, two for each video.
    """
    drawn = np.argsort(words[: len(ids)], kind="stable")
    members, sizes = _bundles(drawn, ids[drawn], per_group)
    mixed = np.argsort(words[len(ids) : len(ids) + len(sizes)], kind="stable")
    laid = mixed[_between_borders(sizes[mixed].tolist(), room, global_batch)]
    first, lengths = np.cumsum(sizes) - sizes, sizes[laid]
    shift = first[laid] - (np.cumsum(lengths) - lengths)
    return members[np.arange(len(ids)) + np.repeat(shift, lengths)]


def _bundles(
    videos: NDArray[np.int64], ids: NDArray[np.int64], per_group: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The videos bundle by bundle, and how many each bundle holds: K, what is left of a group, or 1."""
    by_group = np.argsort(ids, kind="stable")
    group = ids[by_group]
    changes = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    within = np.arange(len(ids)) - np.repeat(changes, np.diff(np.r_[changes, len(ids)]))
    starts = np.flatnonzero((within % per_group == 0) | (group == NONE))
    return videos[by_group], np.diff(np.r_[starts, len(ids)])


def _between_borders(sizes: list[int], room: int, global_batch: int) -> list[int]:
    """The numbers of all bundles and fill, in an order in which a bundle straddles a border only where no fill is left.

    They keep the order they come in, but for the fill that is fetched from the far end to close a gap.
    """
    fill = [number for number, size in enumerate(sizes) if size == 1]
    laid: list[int] = []
    fetched: set[int] = set()
    for number, size in enumerate(sizes):
        if number in fetched:
            continue
        while size > room and fill and fill[-1] > number:
            fetched.add(fill[-1])
            laid.append(fill.pop())
            room = room - 1 or global_batch
        laid.append(number)
        room = (room - size) % global_batch or global_batch
    return laid


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
