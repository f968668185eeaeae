"""What `pack` is made of: a plan of all shards, known before the first is written, and the making of any one of them.

A shard is made from its task alone, in any process and in any order, so its bytes depend on the plan and on nothing
else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from typing import Literal, TypeVar

from launch.atomic import Unfinished
from launch.digest import sha256_json
from launch.refusal import Refusal
from shards.finished import VERSION, Bad, Bench, Done
from shards.schema import Video, seconds_of
from shards.sources import BadVideo, Place, Reader, unreadable
from shards.sources.join import Selection
from shards.write import ShardWriter

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Task:
    """One shard to make: the number `number` of the set `set`."""

    set: str
    number: int
    videos: tuple[tuple[str, tuple[tuple[str, Place], ...]], ...]
    """Key, and the name and place of each feature, in the order of the readers."""


@dataclass(frozen=True)
class Plan:
    """The videos of every set, in order, cut into shards."""

    videos: Selection
    videos_per_shard: int

    @property
    def shards(self) -> int:
        """Number of tasks."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
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

    def identity(self) -> dict[str, str]:
        """What all shards have in common, in parts with names; what one is made from, its note says (`_digest`)."""
        return {
            "version": VERSION,
            "features": sha256_json([asdict(reader.feature) for reader in self.readers]),
            "videos_per_shard": str(self.videos_per_shard),
        }


@dataclass(frozen=True)
class Builder:
    """Makes any shard of a plan; a copy of it goes to every process."""

    readers: tuple[Reader, ...]
    on_bad: Literal["stop", "skip"]
    place: Unfinished

    def __call__(self, task: Task) -> Done:
        """Takes the shard over when its note says that it was made of the same, and it is as it was; else makes it.

        Raises Refusal as `ShardWriter.add` and the readers do; with `on_bad` `skip` a bad video is left out instead.
        """
        features = {reader.feature.name: reader.feature for reader in self.readers}
        bench = Bench(self.place, features, self.on_bad)
        return bench.shard(task.set, task.number, self._digest(task), partial(self._fill, task))

    def _digest(self, task: Task) -> str:
        """Of the videos, and of the state (size and time of change) of the files they come from."""
        digest = sha256()
        for key, places in task.videos:
            read = zip(self.readers, places, strict=True)
            stamps = [_readable(reader, name, reader.stamp, place) for reader, (name, place) in read]
            digest.update(repr((key, places, stamps)).encode())
        return digest.hexdigest()

    def _fill(self, task: Task, writer: ShardWriter) -> Bad:
        bad: list[tuple[str, str]] = []
        for key, places in task.videos:
            try:
                self._add(writer, key, places)
            except BadVideo as fault:
                if self.on_bad == "stop":
                    raise
                bad.append((key, str(fault)))
        return bad

    def _add(self, writer: ShardWriter, key: str, places: Sequence[tuple[str, Place]]) -> None:
        features = {
            reader.feature.name: _readable(reader, name, partial(reader.read, seconds=seconds_of(key)), place)
            for reader, (name, place) in zip(self.readers, places, strict=True)
        }
        try:
            writer.add(Video(key, features))
        except Refusal as fault:  # keys and shapes were checked: values that the stored type cannot hold
            raise BadVideo(*fault.args) from None


def _readable(reader: Reader, name: str, ask: Callable[[str, Place], Answer], place: Place) -> Answer:
    """What a reader answers; a file that is gone or that the disk does not give is a Refusal."""
    try:
        return ask(name, place)
    except OSError as error:
        raise unreadable(reader.where(name), error) from None
