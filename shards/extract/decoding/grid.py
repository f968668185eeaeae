"""A regular grid of time over what comes at any time: which frame is shown when, and which seconds are there."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from shards.extract.clips import SLIVER

INSTANT = 1e-6
"""Seconds: times that differ by less are the same, for they are differences of numbers with rounding errors."""

Shown = TypeVar("Shown")


def grid_of(seconds: int, frames_per_second: int) -> Float[np.ndarray, " cell"]:
    """The middle of each of the cells, in seconds of the clip."""
    return (np.arange(seconds * frames_per_second) + 0.5) / frames_per_second


def shown(
    frames: Iterable[tuple[float, float, Shown | None]], grid: Float[np.ndarray, " cell"], length: float
) -> Iterator[tuple[list[int], float, float, Shown]]:
    """Each frame that is seen within [0, length): the cells it is shown in, if any, and from when to when.

    A frame comes with its time and its duration. It is shown until the next one begins, however long that is, and the
    last one for its own duration. Where it is None a frame is lost: the one before goes on. One that comes before its
    predecessor is left out. No more frames are taken than needed, and one is held at a time.
    """
    held: tuple[float, float, Shown] | None = None
    for time, duration, frame in frames:
        if frame is None:
            held = held and (held[0], max(held[1], time + duration), held[2])
        elif held is None or time > held[0]:
            if held:
                yield from _seen(held[0], time, held[2], grid, length)
            held = (time, time + duration, frame)
            if time >= length:
                return
        else:
            held = (held[0], max(held[1], time + duration), held[2])
    if held:
        yield from _seen(*held, grid, length)


def covered(start: float, end: float, seconds: int) -> Float[np.ndarray, " second"]:
    """How much of each second of a clip lies within [start, end)."""
    edges = np.arange(seconds, dtype=np.float64)
    return np.clip(np.minimum(edges + 1, end) - np.maximum(edges, start), 0, 1)


def there(cover: Float[np.ndarray, " second"], length: float) -> Bool[np.ndarray, " second"]:
    """Whether each second is there, of which so much is covered: a sliver, or half of a clip of that length."""
    return (cover > 0) & (cover >= min(SLIVER, length / 2))


def sources(
    served: Bool[np.ndarray, " cell"], present: Bool[np.ndarray, " second"], frames_per_second: int
) -> Int[np.ndarray, " cell"]:
    """For each cell the one whose frame it shows: its own, or the nearest one that has any; -1 in an absent second.

    So the first frame is seen from the beginning of the second in which it comes, and the last to the end of its own.
    """
    cells, own = np.flatnonzero(served), np.arange(len(served))
    if not len(cells):
        return np.full(len(served), -1)
    nearest = cells[np.abs(own[:, None] - cells[None]).argmin(axis=1)]
    return np.where(np.repeat(present, frames_per_second), nearest, -1)


def _seen(
    start: float, end: float, frame: Shown, grid: Float[np.ndarray, " cell"], length: float
) -> Iterator[tuple[list[int], float, float, Shown]]:
    if end > 0 and start < length:
        first, last = np.searchsorted(grid, [start - INSTANT, end - INSTANT])
        yield list(range(int(first), int(last))), start, end, frame
