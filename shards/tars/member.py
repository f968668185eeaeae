"""The members of one shard: each is read with one call straight into a row of the arrays of a batch.

The digest of a member's bytes is checked at its first use; after that only the features asked for are read.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import load

from launch.refusal import Refusal
from shards.schema import Video, check_features
from shards.tars.index import DIGEST, Index, member_digest
from shards.tars.layout import Layout

NEW, OURS, BAD = range(3)
"""What is known of a member: nothing yet (or: another program laid it out); its digest and layout fit; it is bad."""


class Target:
    """Where a video's bytes go: one row of each array asked for, and scratch for everything else in the member."""

    def __init__(self, layout: Layout, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = arrays
        self._header = memoryview(bytearray(len(layout.header)))
        rows = {name: (_bytes(array), layout.length(name)) for name, array in arrays.items()}
        scratch = {each.name: memoryview(bytearray(layout.length(each.name))) for each in layout.features}
        self._parts = [(*rows.get(name, (None, 0)), scratch[name]) for name in scratch]
        self._wanted = [(*rows[name], layout.starts[name]) for name in arrays]

    def whole(self, row: int) -> list[memoryview]:
        """Buffers for all bytes of a member, in their order; the features asked for land in their row."""
        rows = [
            scratch if array is None else array[row * length : (row + 1) * length]
            for array, length, scratch in self._parts
        ]
        return [self._header, *rows]

    def fill(self, descriptor: int, start: int, row: int) -> bool:
        """Reads only the features asked for of the member that starts there; False when the file ends before."""
        for rows, length, offset in self._wanted:
            if os.preadv(descriptor, [rows[row * length : (row + 1) * length]], start + offset) != length:
                return False
        return True


class Members:
    """The videos of one shard, by their place in it; remembers which of them were found whole, and which bad."""

    def __init__(self, index: Index, layout: Layout) -> None:
        self.index, self._layout = index, layout
        self._digests = _bytes(index.digest)
        self._known = bytearray(len(index.keys))
        self._faults: dict[int, str] = {}

    def read(
        self, descriptor: int, path: Path, places: Sequence[int], target: Target, rows: Sequence[int]
    ) -> dict[int, str]:
        """Reads videos, by their places in the shard, into rows; row → what is wrong with it, for the bad ones."""
        faults, known = dict[int, str](), self._known
        for place, start, row in zip(places, self.index.start[list(places)].tolist(), rows, strict=True):
            state = known[place]
            if state == OURS and target.fill(descriptor, start, row):
                continue
            if state == NEW and self._first(descriptor, place, start, target.whole(row)):
                known[place] = OURS
            elif fault := self._faults.get(place) or self._other(descriptor, path, place, target, row):
                faults[row] = fault
        return faults

    def video(self, path: Path, place: int, payload: bytes, whole: bool) -> Video:
        """The video in a member's bytes, of which `whole` says that they have their digest; raises Refusal if bad."""
        key = self.index.keys[place]
        if not whole:
            raise Refusal(
                f"A member must have its index's digest, but '{key}' in '{path}' has another: the shard was damaged "
                "since it was written; copy it again, or pack again."
            )
        return decode(key, path, payload, self._layout)

    def _first(self, descriptor: int, place: int, start: int, buffers: list[memoryview]) -> bool:
        """Reads a member for the first time; whether it has its digest and our layout."""
        os.preadv(descriptor, buffers, start)
        digest = xxhash.xxh3_128(buffers[0])
        for buffer in buffers[1:]:
            digest.update(buffer)
        expected = self._digests[place * DIGEST : (place + 1) * DIGEST]
        return digest.digest() == expected and buffers[0] == self._layout.header

    def _other(self, descriptor: int, path: Path, place: int, target: Target, row: int) -> str | None:
        """Reads a member that another program laid out, or finds out what is wrong with it."""
        payload = os.pread(descriptor, int(self.index.size[place]), int(self.index.start[place]))
        whole = member_digest(payload) == self._digests[place * DIGEST : (place + 1) * DIGEST]
        try:
            video = self.video(path, place, payload, whole)
        except Refusal as refusal:
            self._known[place], self._faults[place] = BAD, str(refusal)
            return self._faults[place]
        for name, array in target.arrays.items():
            array[row] = video.features[name]
        return None


def decode(key: str, path: Path, payload: bytes, layout: Layout) -> Video:
    """The video in a member's bytes, whoever laid it out; raises Refusal unless it has the features of its set.

    What `shards.write` laid out is taken as it is: it was checked when it was written, and has its digest.
    """
    views = layout.views(payload)
    if views is not None:
        return Video(key, views)
    features = {each.name: each for each in layout.features}
    try:
        video = Video(key, load(payload))
    except (SafetensorError, ValueError, TypeError, MemoryError) as error:
        raise Refusal(
            f"A member must be a safetensors file, but '{key}' in '{path}' is damaged ({error}): pack again."
        ) from None
    check_features(video, features)
    for name, array in video.features.items():
        if array.dtype != features[name].dtype:
            raise Refusal(
                f"Feature '{name}' must be stored as {features[name].dtype}, as the manifest says, but is "
                f"{array.dtype} in video '{key}' of '{path}': pack again."
            )
    return video


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array, without a copy; it must lie in one piece."""
    assert array.flags.c_contiguous, "a batch is read into arrays that lie in one piece"
    return array.reshape(-1).view(np.uint8).data
