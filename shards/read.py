"""Reading a shard set, local or remote: videos at random through offset indexes, or all of them in stored order.

A video is read by one call straight into the rows of a batch, and the digest of its bytes is checked at its first use.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from launch.progress import say
from launch.refusal import Refusal
from launch.settings import Settings
from shards.files import Files, Folder
from shards.location import check_environment, is_remote
from shards.location import location as as_location
from shards.manifest import Manifest
from shards.remote.cache import HostCache
from shards.schema import SECONDS, Video
from shards.sets import find_sets, read_manifest
from shards.tars.layout import Layout
from shards.tars.member import Members
from shards.tars.stream import stream
from shards.tars.together import Job, Together


class ReadSettings(Settings):
    """How shards are read, and what happens to a video that cannot be."""

    on_bad: Literal["stop", "skip"] = Field(
        "stop",
        description="a bad video stops the run, or is skipped, counted and listed; a damaged or missing shard stops it",
    )
    cache: Path = Field(
        Path("~/.cache/soundsight/shards"), description="folder for shards fetched from a URL; shared by a host's ranks"
    )
    tries: int = Field(8, ge=1, description="tries for each block that is fetched, with growing pauses between")
    connections: int = Field(4, ge=1, description="shards fetched at the same time by one reader")
    threads: int = Field(
        2, ge=1, description="threads of a process that share a batch; they wait for memory, not for each other"
    )


@dataclass(frozen=True)
class Rows:
    """The videos of a batch, as they were read."""

    places: Int64[np.ndarray, " video"]
    """Those asked for, in that order, less the skipped."""
    features: dict[str, np.ndarray]
    """Name → (video, second, width), in the stored dtype."""
    faults: tuple[str, ...] = ()
    """One sentence a skipped video."""


class Shards:
    """An opened shard set. What is read of it is opened at first use, so it can be handed to another process."""

    def __init__(self, location: str, manifest: Manifest, settings: ReadSettings, window: int) -> None:
        self.location, self.manifest, self.settings, self.window = location, manifest, settings, window
        self.layout = Layout.of(manifest.features)
        self._files: Files = (
            HostCache(location, manifest, settings.cache, window + 1, settings.tries, settings.connections)
            if is_remote(location)
            else Folder(Path(location), manifest, self.layout.most)
        )
        self._members: dict[int, Members] = {}
        self.faults: list[str] = []
        """One sentence for each video that `stream` has skipped so far."""
        self._together = Together(self.layout, settings.threads)

    @classmethod
    def open(cls, location: str | Path, settings: ReadSettings | None = None, window: int = 1) -> "Shards":
        """The shard set in a folder or below a URL; of a URL at most `window` + 1 shards are kept on this host.

        Raises Refusal when the manifest is missing, damaged or of another version, or a local shard is missing or of
        another size.
        """
        check_environment()
        settings, location = settings or ReadSettings(), as_location(location)
        return cls(location, read_manifest(location, settings.tries), settings, window)

    def __reduce__(self) -> tuple[object, ...]:
        return Shards, (self.location, self.manifest, self.settings, self.window)

    def __len__(self) -> int:
        return self.manifest.videos

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The videos' keys in stored order."""
        keys = tuple(key for number in range(len(self.manifest.shards)) for key in self._shard(number).index.keys)
        doubled = [key for key, count in Counter(keys).items() if count > 1]
        if doubled:
            raise Refusal(
                f"A key must be unique in a shard set, but '{doubled[0]}' is twice in '{self.location}': pack again."
            )
        return keys

    @cached_property
    def shard_of(self) -> Int64[np.ndarray, " video"]:
        """The number of the shard that holds each video."""
        return np.repeat(np.arange(len(self.manifest.shards)), self.manifest.counts)

    @cached_property
    def _first(self) -> Int64[np.ndarray, " shard"]:
        """The place of the first video of each shard."""
        return np.concatenate([[0], np.cumsum(self.manifest.counts)[:-1]]).astype(np.int64)

    def prepare(self, numbers: Collection[int], position: int) -> None:
        """Tells which shards this reader needs from now on, and how far in the order it is: work for remote sets."""
        self._files.prepare(numbers, position)

    def read(self, place: int) -> Video:
        """The video at a place in the stored order; raises Refusal if it is bad, whatever `on_bad` says."""
        rows = self._batch(np.array([place]), self.empty(1, list(self.manifest.features)))
        if rows.faults:
            raise Refusal(rows.faults[0])
        number = int(self.shard_of[place])
        key = self._shard(number).index.keys[place - int(self._first[number])]
        return Video(key, {name: array[0] for name, array in rows.features.items()})

    def batch(
        self,
        places: Sequence[int] | np.ndarray,
        names: Sequence[str],
        out: Mapping[str, np.ndarray] | None = None,
    ) -> Rows:
        """The named features of several videos, in the order asked for.

        They are read into the first rows of `out` (name → (video, second, width) of the stored dtype), or into new
        arrays. A bad video raises Refusal, or with `on_bad = "skip"` is left out and told in `faults`. Raises Refusal
        for a name that the set does not hold.
        """
        for name in names:
            self.check_feature(name)
        arrays = self.empty(len(places), names) if out is None else {name: out[name] for name in names}
        for name, array in arrays.items():
            self._check_array(name, array, len(places))
        rows = self._batch(np.asarray(places, np.int64), arrays)
        if rows.faults and self.settings.on_bad == "stop":
            raise Refusal(_or_skip(rows.faults[0]))
        return rows

    def empty(self, videos: int, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Arrays that a batch of so many videos can be read into."""
        features = self.manifest.features
        return {name: np.empty((videos, SECONDS, features[name].width), features[name].dtype) for name in names}

    def stream(self) -> Iterator[Video]:
        """Every video in stored order, read sequentially and grouped by webdataset.

        A bad one raises Refusal, or with `on_bad = "skip"` is said, added to `faults`, and left out.
        """
        for number in range(len(self.manifest.shards)):
            members = self._shard(number)
            with self._files.opened(number) as (descriptor, path):
                for place, (payload, whole) in enumerate(stream(descriptor, path, members.index)):
                    video = self._good(members, path, place, payload, whole)
                    if video is not None:
                        yield video

    def check_feature(self, name: str) -> None:
        """Raises Refusal, naming the features there are, when the set does not hold this one."""
        if name not in self.manifest.features:
            raise Refusal(
                f"A feature must be in the shard set, but '{name}' is not in '{self.location}', which holds "
                f"{', '.join(self.manifest.features)}: name one of these, or pack that feature."
            )

    def _check_array(self, name: str, array: np.ndarray, videos: int) -> None:
        feature = self.manifest.features[name]
        if array.dtype != feature.dtype or array.shape[1:] != (SECONDS, feature.width) or len(array) < videos:
            raise ValueError(
                f"`out['{name}']` must be {feature.dtype} of shape (≥ {videos}, {SECONDS}, {feature.width}), but is "
                f"{array.dtype} of shape {array.shape}."
            )

    def _good(self, members: Members, path: Path, place: int, payload: bytes, whole: bool) -> Video | None:
        try:
            return members.video(path, place, payload, whole)
        except Refusal as refusal:
            if self.settings.on_bad == "stop":
                raise Refusal(_or_skip(str(refusal))) from None
            say(f"Skipped: {refusal}")
            self.faults.append(str(refusal))
            return None

    def _shard(self, number: int) -> Members:
        if number not in self._members:
            self._members[number] = Members(self._files.index(number), self.layout)
        return self._members[number]

    def _batch(self, places: Int64[np.ndarray, " video"], arrays: Mapping[str, np.ndarray]) -> Rows:
        """Reads shard by shard, so that each is opened once, and so many at a time as may be open."""
        numbers = self.shard_of[places]
        by_shard = np.argsort(numbers, kind="stable")
        runs = np.split(by_shard, np.flatnonzero(np.diff(numbers[by_shard])) + 1) if len(places) else []
        faults = dict[int, str]()
        for start in range(0, len(runs), self._files.at_once):
            with ExitStack() as stack:
                jobs = [self._job(places, rows, stack) for rows in runs[start : start + self._files.at_once]]
                faults |= self._together.read(jobs, arrays)
        kept = np.setdiff1d(np.arange(len(places)), list(faults)) if faults else slice(len(places))
        features = {name: array[kept] for name, array in arrays.items()}
        return Rows(places[kept], features, tuple(faults[row] for row in sorted(faults)))

    def _job(self, places: Int64[np.ndarray, " video"], rows: Int64[np.ndarray, " row"], stack: ExitStack) -> Job:
        """What is to be read of one shard, which stays open as long as the stack."""
        number = int(self.shard_of[places[rows[0]]])
        members = self._shard(number)
        descriptor, path = stack.enter_context(self._files.opened(number))
        return Job(members, descriptor, path, (places[rows] - self._first[number]).tolist(), rows.tolist())


def _or_skip(fault: str) -> str:
    return f"{fault.removesuffix('.')}, or go on without such videos (--reading.on_bad skip)."


def open_sets(location: str | Path, settings: ReadSettings | None = None) -> dict[str, Shards]:
    """The shard sets at a location by name: itself as "" when it holds a manifest, else each subfolder that does."""
    settings = settings or ReadSettings()
    check_environment()
    found = find_sets(as_location(location), settings.tries)
    return {name: Shards(place, manifest, settings, window=1) for name, (place, manifest) in found.items()}
