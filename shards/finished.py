"""Finished shards of a result in the making: beside each lies a note, by which a later start takes it over.

What `pack`, `extract` and `export` share. All make a shard from its task alone, so its bytes do not depend on which
start made it, nor on what was made before.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Literal

from launch.atomic import Unfinished, whole_file
from launch.digest import sha256_file
from launch.progress import say
from shards.manifest import SCHEMA, Shard
from shards.schema import Feature
from shards.tars.index import index_name
from shards.write import ShardWriter, open_shard

VERSION = f"{SCHEMA}.2"
"""Of shards, of the notes, and of how shards are made; beginnings of another version are not gone on with."""
Bad = Sequence[tuple[str, str]]
"""Key and fault of each video that was left out."""


@dataclass(frozen=True)
class Done:
    """What became of the shard `number` of the set `set`."""

    set: str
    number: int
    shard: Shard | None
    """None when every video was bad."""
    bad: tuple[tuple[str, str], ...]
    """Key and fault of each video that was left out."""
    found: bool = False
    """Whether an earlier start had made it."""


class _Empty(Exception):
    pass


@dataclass(frozen=True)
class Bench:
    """Where shards of some features are made, or found as an earlier start left them."""

    place: Unfinished
    features: Mapping[str, Feature]
    on_bad: Literal["stop", "skip"]
    """With `stop`, a shard that was made without its bad videos is not taken over."""

    def shard(self, title: str, number: int, digest: str, fill: Callable[[ShardWriter], Bad]) -> Done:
        """The shard `number` of the set `title`: taken over if it is as its note says, and made of the same; else made.

        `digest` is of what it is made of. `fill` adds the videos and says which it left out; what it raises goes on.
        """
        return self.found(title, number, digest) or self.made(title, number, digest, fill)

    def found(self, title: str, number: int, digest: str) -> Done | None:
        """The shard as an earlier start made it of the same; None when it did not, or where it is damaged."""
        note, folder = self.place.notes / _note(title, number), self.place.result / title
        try:
            told = json.loads(note.read_text())
            shard = Shard(**told["shard"]) if told["shard"] else None
            bad = tuple((key, fault) for key, fault in told["bad"])
            if told["task"] != digest or (bad and self.on_bad == "stop"):
                return None
            whole = all(sha256_file(folder / name) == stored for name, stored in told["files"].items())
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return Done(title, number, shard, bad, found=True) if whole else None

    def made(self, title: str, number: int, digest: str, fill: Callable[[ShardWriter], Bad]) -> Done:
        """The shard, made anew and noted, whatever an earlier start left."""
        folder, file = self.place.result / title, f"{number:06d}.tar"
        bad: Bad = ()
        with suppress(_Empty), open_shard(folder / file, self.features) as writer:
            bad = fill(writer)
            if not len(writer):
                raise _Empty
        shard, index = writer.shard, index_name(file)
        files = {shard.file: shard.sha256, index: sha256_file(folder / index)} if shard else {}
        told = {"task": digest, "shard": asdict(shard) if shard else None, "files": files, "bad": bad}
        with whole_file(self.place.notes / _note(title, number)) as temporary:
            temporary.write_text(json.dumps(told))
        return Done(title, number, shard, tuple(bad))


@contextmanager
def going_on(place: Unfinished, counts: Mapping[str, int]) -> Iterator[list[Done]]:
    """A list for what becomes of every shard; says what an earlier start left, and what is kept for a later one.

    `counts` holds the number of shards of each set.
    """
    before, shards = _kept(place, counts), sum(counts.values())
    if before:
        say(f"Going on: an earlier start left {before} shards; each is checked before it is taken over.")
    done: list[Done] = []
    try:
        yield done
    except BaseException:
        if kept := _kept(place, counts):
            say(f"Kept {kept} of {shards} shards in '{place.result}': the same command goes on from there.")
        raise
    taken = sum(each.found for each in done)
    if before:
        again = f"; {before - taken} were damaged or of other inputs, and were made again" if before > taken else ""
        say(f"Took over {taken} of {shards} shards{again}.")


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


def _kept(place: Unfinished, counts: Mapping[str, int]) -> int:
    """How many of these shards an earlier start has noted as finished."""
    names = {_note(title, number) for title, count in counts.items() for number in range(count)}
    return sum(note.name in names for note in place.notes.iterdir())


def _note(title: str, number: int) -> str:
    """The name of the note that says that a shard of a set is finished."""
    return f"{title or 'all'}-{number:06d}.json"
