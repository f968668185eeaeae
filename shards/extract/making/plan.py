"""The plan of an extraction: which clips of which files, in which shards, known before the first is decoded."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from launch.digest import sha256_json
from launch.refusal import Refusal
from shards.extract.clips import Clip, Cut
from shards.extract.making.failures import Failure, printable
from shards.extract.making.files import VideoFile
from shards.schema import check_key


class Media(Protocol):
    """What is known of a video file before it is decoded."""

    @property
    def seconds(self) -> float:
        """Its length."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it, a sentence each."""


@dataclass(frozen=True)
class Examined:
    """A file that can be decoded, as far as its headers tell."""

    file: VideoFile
    seconds: float
    notes: tuple[str, ...] = ()


class Cutting(Protocol):
    """Which clips a file is cut into, by its stem and its seconds."""

    def __call__(self, stem: str, seconds: float) -> Cut:
        """Raises Refusal for a stem that no key can hold."""


@dataclass(frozen=True)
class Planned:
    """A clip to extract."""

    of: Examined
    clip: Clip


@dataclass(frozen=True)
class Task:
    """A clip to decode; some 17 MB of pictures and sound come of it."""

    shard: int
    place: int
    """Which of the shard's clips it is."""
    name: str
    """The file's."""
    path: Path
    clip: Clip


@dataclass(frozen=True)
class Plan:
    """All clips, in the order in which they are stored: by the files' names, then by time."""

    clips: tuple[Planned, ...]
    videos_per_shard: int
    failures: tuple[Failure, ...]
    """What is left out already."""
    dropped: float
    """Seconds of tails that are too short for clips of their own."""

    @property
    def shards(self) -> int:
        """Number of shards to make; one of which every clip turns out bad is never written."""
        return -(-len(self.clips) // self.videos_per_shard)

    def of_shard(self, number: int) -> Sequence[Planned]:
        """The clips of a shard."""
        first = number * self.videos_per_shard
        return self.clips[first : first + self.videos_per_shard]

    def cut_short(self) -> list[Planned]:
        """Clips that have more than a begun second less than their keys say."""
        return [each for each in self.clips if each.clip.seconds - (each.clip.end - each.clip.start) > 2]

    def digest(self, number: int) -> str:
        """Of a shard's clips, and of the state (size and time of change) of the files they come from."""
        chosen = self.of_shard(number)
        return sha256_json([[each.of.file.name, each.of.file.stamp, *_told(each.clip)] for each in chosen])

    def tasks(self, shards: Sequence[int]) -> Iterator[Task]:
        """What is to be decoded for these shards, in order."""
        for number in shards:
            for place, each in enumerate(self.of_shard(number)):
                yield Task(number, place, each.of.file.name, each.of.file.path, each.clip)


def plan_of(files: Sequence[Examined], cutting: Cutting, videos_per_shard: int) -> Plan:
    """The plan for files in this order. Raises Refusal for two files of one stem, or whose clips share a key."""
    _check_stems([each.file for each in files])
    clips, failures, dropped = list[Planned](), list[Failure](), 0.0
    for each in files:
        try:
            cut = _sound(cutting, each)
        except Unusable as fault:
            failures.append(Failure(each.file.name, None, str(fault)))
            continue
        dropped += cut.dropped
        clips += [Planned(each, clip) for clip in dict.fromkeys(cut.clips)]  # parts of a list may overlap
        for clip in cut.beyond:
            reason = (
                f"A part must begin before its file ends, but '{clip.key}' does not, for the file has {each.seconds:g} "
                "s: give --trimmed True where files hold their parts alone."
            )
            failures.append(Failure(each.file.name, clip.start, reason))
    _check_keys(clips)
    return Plan(tuple(clips), videos_per_shard, tuple(failures), dropped)


class Unusable(Refusal):
    """A file whose name cannot be a key."""


def _sound(cutting: Cutting, each: Examined) -> Cut:
    try:
        check_key(each.file.stem)
    except Refusal as fault:
        raise Unusable(*fault.args) from None
    return cutting(each.file.stem, each.seconds)


def _check_stems(files: Sequence[VideoFile]) -> None:
    doubled = [stem for stem, count in Counter(file.stem for file in files).items() if count > 1]
    if doubled:
        first, second = [file for file in files if file.stem == doubled[0]][:2]
        raise Refusal(
            f"A file's name without its suffix must be unique, since its clips are called by it, but {_quoted(first)} "
            f"and {_quoted(second)} share '{printable(doubled[0])}' (names that are shared: {len(doubled):,}): rename "
            "one, or leave one out by --pattern."
        )


def _check_keys(clips: Sequence[Planned]) -> None:
    files = dict[str, VideoFile]()
    for each in clips:
        other = files.setdefault(each.clip.key, each.of.file)
        if other is not each.of.file:
            raise Refusal(
                f"A clip's key must be unique, but {_quoted(other)} and {_quoted(each.of.file)} both have "
                f"'{each.clip.key}': rename one of the files."
            )


def _quoted(file: VideoFile) -> str:
    return f"'{printable(str(file.path))}'"


def _told(clip: Clip) -> tuple[str, float, float]:
    return clip.key, clip.start, clip.end
