"""What `pack` is made of: a plan of all shards, known before the first is written, and the making of any one of them.

A shard is made from its task alone, in any process and in any order, so its bytes depend on the plan and on nothing
else. Beside the shards lie notes, one a finished shard, by which a later start knows what it need not do again.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeVar

from launch.atomic import Unfinished, whole_file
from launch.digest import sha256_file, sha256_json
from launch.refusal import Refusal
from shards.manifest import SCHEMA, Shard
from shards.schema import Feature, Video
from shards.sources import BadVideo, Place, Reader, unreadable
from shards.sources.join import Selection
from shards.tars.index import index_name
from shards.write import ShardWriter, open_shard

Answer = TypeVar("Answer")
VERSION = 1
"""Of the notes and of how shards are made from sources; beginnings of another version are not gone on with."""


@dataclass(frozen=True)
class Task:
    """One shard to make: the number `number` of the set `set`."""

    set: str
    number: int
    videos: tuple[tuple[str, tuple[tuple[str, Place], ...]], ...]
    """Key, and the name and place of each feature, in the order of the readers."""

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
    """The videos of every set, in order, cut into shards."""

    videos: Selection
    videos_per_shard: int

    @property
    def shards(self) -> int:
        """Number of tasks."""
        return sum(self._counts.values())

    @property
    def _counts(self) -> dict[str, int]:
        """Set → number of its shards."""
        return {name: -(-len(keys) // self.videos_per_shard) for name, keys in self.videos.sets.items()}

    @property
    def readers(self) -> tuple[Reader, ...]:
        """One a feature."""
        return tuple(source.reader for source in self.videos.sources)

    def tasks(self) -> Iterator[Task]:
        """Every shard in order; made as they are asked for."""
        for name, keys in self.videos.sets.items():
            for number, first in enumerate(range(0, len(keys), self.videos_per_shard)):
                chunk = keys[first : first + self.videos_per_shard]
                yield Task(name, number, tuple((key, self.videos.places(key)) for key in chunk))

    def kept(self, place: Unfinished) -> int:
        """How many of these shards an earlier start has noted as finished."""
        names = {_note(name, number) for name, count in self._counts.items() for number in range(count)}
        return sum(note.name in names for note in place.notes.iterdir())

    def identity(self) -> dict[str, str]:
        """What all shards have in common, in parts with names; what one is made from, its note says (`_digest`)."""
        return {
            "version": f"{SCHEMA}.{VERSION}",
            "features": sha256_json([asdict(reader.feature) for reader in self.readers]),
            "videos_per_shard": str(self.videos_per_shard),
        }


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
        note = self.place.notes / _note(task.set, task.number)
        digest = self._digest(task)
        return self._found(task, note, digest) or self._made(task, note, digest)

    def _digest(self, task: Task) -> str:
        """Of the videos, and of the state (size and time of change) of the files they come from."""
        digest = sha256()
        for key, places in task.videos:
            read = zip(self.readers, places, strict=True)
            stamps = [_readable(reader, name, reader.stamp, place) for reader, (name, place) in read]
            digest.update(repr((key, places, stamps)).encode())
        return digest.hexdigest()

    def _found(self, task: Task, note: Path, digest: str) -> Done | None:
        folder = self.place.result / task.set
        try:
            told = json.loads(note.read_text())
            shard = Shard(**told["shard"]) if told["shard"] else None
            bad = tuple((key, fault) for key, fault in told["bad"])
            if told["task"] != digest or (bad and self.on_bad == "stop"):
                return None
            whole = all(sha256_file(folder / name) == stored for name, stored in told["files"].items())
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return Done(task.set, task.number, shard, bad, found=True) if whole else None

    def _made(self, task: Task, note: Path, digest: str) -> Done:
        folder, bad = self.place.result / task.set, list[tuple[str, str]]()
        with suppress(_Empty), open_shard(folder / task.file, self.features) as writer:
            for key, places in task.videos:
                self._add(writer, key, places, bad)
            if not len(writer):
                raise _Empty
        shard, index = writer.shard, index_name(task.file)
        files = {shard.file: shard.sha256, index: sha256_file(folder / index)} if shard else {}
        told = {"task": digest, "shard": asdict(shard) if shard else None, "files": files, "bad": bad}
        with whole_file(note) as temporary:
            temporary.write_text(json.dumps(told))
        return Done(task.set, task.number, shard, tuple(bad))

    def _add(
        self, writer: ShardWriter, key: str, places: Sequence[tuple[str, Place]], bad: list[tuple[str, str]]
    ) -> None:
        try:
            features = {
                reader.feature.name: _readable(reader, name, reader.read, place)
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


def _readable(reader: Reader, name: str, ask: Callable[[str, Place], Answer], place: Place) -> Answer:
    """What a reader answers; a file that is gone or that the disk does not give is a Refusal."""
    try:
        return ask(name, place)
    except OSError as error:
        raise unreadable(reader.where(name), error) from None


def _note(title: str, number: int) -> str:
    """The name of the note that says that a shard of a set is finished."""
    return f"{title or 'all'}-{number:06d}.json"


def sweep(place: Unfinished, done: Sequence[Done]) -> None:
    """Removes what is no shard: what killed processes left half-written, and what other lists of videos made."""
    wanted = {
        place.result / each.set / name
        for each in done
        if each.shard
        for name in (each.shard.file, index_name(each.shard.file))
    }
    for path in sorted(place.result.rglob("*"), reverse=True):  # what a folder holds comes before it
        if not path.is_dir() and path not in wanted:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
