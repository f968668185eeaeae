"""What `pack` is made of: a plan of all shards, known before the first is written, and the making of any one of them.

A shard is made from its task alone, in any process and in any order, so its bytes depend on the plan and on nothing
else. Beside the shards lie notes, one a finished shard, by which a later start knows what it need not do again.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from launch.atomic import Unfinished, whole_file
from launch.digest import sha256_file, sha256_json
from launch.refusal import Refusal
from shards.index import index_name
from shards.manifest import SCHEMA, Shard
from shards.schema import Feature, Video
from shards.sources import BadVideo, Place, Reader, Source, unreadable
from shards.write import ShardWriter, open_shard

VERSION = 1
"""Of the notes and of how shards are made from sources; beginnings of another version are not gone on with."""


@dataclass(frozen=True)
class Task:
    """One shard to make: the number `number` of the set `set`."""

    set: str
    number: int
    videos: tuple[tuple[str, tuple[tuple[str, Place], ...]], ...]
    """Key, and the name and place of each feature, in the order of the readers."""
    digest: str
    """Of its videos, and of the state (size and time of change) of the files they come from."""

    @property
    def file(self) -> str:
        """The tar's name in the folder of its set."""
        return f"{self.number:06d}.tar"


@dataclass(frozen=True)
class Done:
    """What became of a task."""

    set: str
    number: int
    shard: Shard | None
    """None when every video was bad."""
    bad: tuple[tuple[str, str], ...]
    """Key and fault of each video that was left out."""
    found: bool = False
    """Whether an earlier start had made it."""


@dataclass(frozen=True)
class Plan:
    """The videos of every set, in order, and what each is called in each source."""

    sources: tuple[Source, ...]
    sets: Mapping[str, Mapping[str, tuple[str, ...]]]
    videos_per_shard: int

    @property
    def shards(self) -> int:
        """Number of tasks."""
        return sum(-(-len(videos) // self.videos_per_shard) for videos in self.sets.values())

    def tasks(self) -> Iterator[Task]:
        """Every shard in order; made as they are asked for."""
        for name, videos in self.sets.items():
            rest = iter(videos.items())
            for number in range(-(-len(videos) // self.videos_per_shard)):
                yield self._task(name, number, islice(rest, self.videos_per_shard))

    def identity(self) -> dict[str, str]:
        """What all shards have in common, in parts with names; what each is made from is in its task's digest."""
        return {
            "version": f"{SCHEMA}.{VERSION}",
            "features": sha256_json([asdict(source.reader.feature) for source in self.sources]),
            "videos_per_shard": str(self.videos_per_shard),
        }

    def _task(self, name: str, number: int, videos: Iterable[tuple[str, tuple[str, ...]]]) -> Task:
        digest, found = sha256(), []
        for key, names in videos:
            places = tuple((each, source.places[each]) for each, source in zip(names, self.sources, strict=True))
            stamps = [source.stamp(place) for (_, place), source in zip(places, self.sources, strict=True)]
            digest.update(repr((key, names, stamps)).encode())
            found.append((key, places))
        return Task(name, number, tuple(found), digest.hexdigest())


class _Empty(Exception):
    pass


@dataclass(frozen=True)
class Builder:
    """Makes any shard of a plan; a copy of it goes to every process."""

    readers: tuple[Reader, ...]
    on_bad: Literal["stop", "skip"]
    place: Unfinished

    @property
    def features(self) -> dict[str, Feature]:
        """The features of every shard."""
        return {reader.feature.name: reader.feature for reader in self.readers}

    def __call__(self, task: Task) -> Done:
        """Takes the shard over when its note says that it was made of the same, and it is as it was; else makes it.

        Raises Refusal as `ShardWriter.add` and the readers do; with `on_bad` `skip` a bad video is left out instead.
        """
        note = self.place.notes / f"{task.set or 'all'}-{task.number:06d}.json"
        return self._found(task, note) or self._made(task, note)

    def _found(self, task: Task, note: Path) -> Done | None:
        folder = self.place.result / task.set
        try:
            told = json.loads(note.read_text())
            shard = Shard(**told["shard"]) if told["shard"] else None
            bad = tuple((key, fault) for key, fault in told["bad"])
            if told["task"] != task.digest or (bad and self.on_bad == "stop"):
                return None
            whole = all(sha256_file(folder / name) == digest for name, digest in told["files"].items())
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return Done(task.set, task.number, shard, bad, found=True) if whole else None

    def _made(self, task: Task, note: Path) -> Done:
        folder, bad = self.place.result / task.set, list[tuple[str, str]]()
        with suppress(_Empty), open_shard(folder / task.file, self.features) as writer:
            for key, places in task.videos:
                self._add(writer, key, places, bad)
            if not len(writer):
                raise _Empty
        shard, index = writer.shard, index_name(task.file)
        files = {shard.file: shard.sha256, index: sha256_file(folder / index)} if shard else {}
        told = {"task": task.digest, "shard": asdict(shard) if shard else None, "files": files, "bad": bad}
        with whole_file(note) as temporary:
            temporary.write_text(json.dumps(told))
        return Done(task.set, task.number, shard, tuple(bad))

    def _add(
        self, writer: ShardWriter, key: str, places: Sequence[tuple[str, Place]], bad: list[tuple[str, str]]
    ) -> None:
        try:
            features = {
                reader.feature.name: _read(reader, name, place)
                for reader, (name, place) in zip(self.readers, places, strict=True)
            }
            try:
                writer.add(Video(key, features))
            except Refusal as fault:  # keys and shapes were checked: values that the stored type cannot hold
                raise BadVideo(*fault.args) from None
        except BadVideo as fault:
            if self.on_bad == "stop":
                raise
            bad.append((key, str(fault)))


def _read(reader: Reader, name: str, place: Place) -> np.ndarray:
    try:
        return reader.read(name, place)
    except OSError as error:
        raise unreadable(reader.where(name), error) from None


def sweep(place: Unfinished, done: Sequence[Done]) -> None:
    """Removes what is no shard: what killed processes left half-written, and what a longer list of videos made."""
    wanted = {
        place.result / each.set / name
        for each in done
        if each.shard
        for name in (each.shard.file, index_name(each.shard.file))
    }
    for file in list(place.result.rglob("*")):
        if file.is_file() and file not in wanted:
            file.unlink()
