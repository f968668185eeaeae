"""Clips: which parts of a video file become videos of a corpus, and by which keys."""

import csv
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.refusal import Refusal
from shards.labels import Tables, feature_id
from shards.schema import SECONDS, check_key, seconds_of

SLACK = 0.5
"""Seconds: a tail shorter than this is no clip of its own, and a file may be so much longer than its name says."""
SHORTEST = 0.001
"""Seconds: what is shorter has no length, for keys are written to the millisecond."""
SLIVER = 0.05
"""Seconds: what goes so little beyond a whole second is what codecs pad their last packet with, not another second."""
COLUMNS = ("YTID", "start_seconds", "end_seconds", "positive_labels")
_NAMED = re.compile(r"_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)$", re.ASCII)


@dataclass(frozen=True)
class Clip:
    """At most ten seconds of a file, [start, end) in seconds of the file."""

    key: str
    start: float
    end: float

    @property
    def seconds(self) -> int:
        """Whole seconds of features that it has; a last second that is begun counts."""
        return seconds_of(self.key)


@dataclass(frozen=True)
class Cut:
    """The clips of one file, in order of time, and what is not among them."""

    clips: tuple[Clip, ...]
    dropped: float = 0.0
    """Seconds at the end that are too short for a clip of their own, where they are more than a sliver."""
    beyond: tuple[Clip, ...] = ()
    """Parts that a list asks for and that begin after the file's end."""


@dataclass(frozen=True)
class Parts:
    """What a list wants of the files: id → its parts, in order of time, times being those of the uncut original."""

    of: Mapping[str, tuple[Clip, ...]]
    place: str
    """Where the list stands, for sentences."""

    def wants(self, stem: str) -> bool:
        """Whether anything is wanted of the file `<stem>.*`."""
        return stem in self.of or self._named(stem) is not None

    def cut(self, stem: str, seconds: float, trimmed: bool = False) -> Cut:
        """The clips of the file `<stem>.*` of so many seconds; none for a file that the list does not name.

        With `trimmed` the file holds its part alone, so that the part begins at the file's second 0. A file whose stem
        is a part's whole key holds that part alone too, unless it is longer.
        """
        named = self._named(stem)
        if named and (trimmed or seconds <= named.end - named.start + SLACK):
            return _tens(named, named.start, seconds)
        parts = self.of.get(stem, ())
        if trimmed and len(parts) > 1:
            raise Refusal(
                f"A trimmed file holds one part, but {self.place} names {len(parts)} parts of '{stem}': name the files "
                f"by the parts' keys (such as '{parts[0].key}'), or give the uncut files."
            )
        cuts = [_tens(part, part.start if trimmed else 0.0, seconds) for part in parts]
        clips = tuple(sorted((clip for each in cuts for clip in each.clips), key=lambda clip: (clip.start, clip.end)))
        return Cut(clips, sum(each.dropped for each in cuts), tuple(clip for each in cuts for clip in each.beyond))

    def without_file(self, stems: Collection[str]) -> tuple[str, ...]:
        """The keys that none of the files is for, in the list's order."""
        there = set(stems)
        return tuple(
            part.key for name, parts in self.of.items() for part in parts if name not in there and part.key not in there
        )

    def _named(self, stem: str) -> Clip | None:
        if not _NAMED.search(stem):
            return None
        return next((part for part in self.of.get(feature_id(stem), ()) if part.key == stem), None)


def cut(stem: str, seconds: float) -> Cut:
    """A whole file by tens from its second 0, keys `<stem>_<start>_<end>`; a tail under SLACK is left out.

    A stem that ends in times of at most ten seconds, of a file that is no longer than they say, is the key itself.
    Raises Refusal for a stem that no key can hold.

    >>> [clip.key for clip in cut("x", 22.4).clips], [clip.key for clip in cut("x_30_37", 7.04).clips]
    (['x_0_10', 'x_10_20', 'x_20_22.4'], ['x_30_37'])
    """
    check_key(stem)
    match = _NAMED.search(stem)
    length = float(match[2]) - float(match[1]) if match else 0.0
    if 0 < length <= SECONDS and seconds <= length + SLACK:
        return Cut((Clip(stem, 0.0, min(seconds, length)),))
    pieces, dropped = _pieces(0.0, seconds)
    return Cut(tuple(Clip(_key(stem, start, end), start, end) for start, end in pieces), dropped)


def read_segments(path: Path) -> Parts:
    """The parts that a table in AudioSet's format names: `YTID, start, end, "labels"`, lines with `#` are comments."""
    parts: dict[str, list[Clip]] = {}
    seen: dict[str, int] = {}
    for number, fields in _lines(path):
        clip = _segment(f"{path}, line {number},", fields)
        if clip.key in seen:
            raise Refusal(
                f"A part stands once in a list, but {path}, line {number}, names '{clip.key}' again, as does line "
                f"{seen[clip.key]}: remove one of the lines."
            )
        seen[clip.key] = number
        parts.setdefault(fields[0], []).append(clip)
    if not parts:
        raise Refusal(f"A list of segments must name at least one, but {path} has none: see AudioSet's CSV files.")
    return Parts({name: _in_order(clips) for name, clips in parts.items()}, str(path))


def parts_of_tables(folder: Path) -> Parts:
    """The videos of LLP's weak tables in `folder`, each by its key."""
    parts: dict[str, list[Clip]] = {}
    for videos in Tables.load(folder).weak.values():
        for key in videos:
            match = _NAMED.search(key)
            assert match, key  # the tables refuse other keys
            start, end = float(match[1]), float(match[2])
            if end <= start:
                raise Refusal(f"A video must end after its start, but '{folder}' names '{key}': correct the row.")
            parts.setdefault(feature_id(key), []).append(Clip(key, start, end))
    return Parts({name: _in_order(clips) for name, clips in parts.items()}, str(folder))


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line that is neither empty nor a comment, with its number from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refusal(
            f"The list of segments '{path}' must be readable, but is not ({error.strerror}): correct --segments."
        ) from None
    except UnicodeDecodeError as error:
        raise Refusal(f"A list of segments must be UTF-8 text, but {path} is not ({error}): save it as that.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield number, [field.strip() for field in next(csv.reader([line.strip()], skipinitialspace=True))]
            except csv.Error as error:
                raise Refusal(f"{path}, line {number}, is no line of a CSV file ({error}): correct it.") from None


def _segment(place: str, fields: Sequence[str]) -> Clip:
    if not 3 <= len(fields) <= len(COLUMNS):
        raise Refusal(f"A segment has the columns {', '.join(COLUMNS)}, but {place} has {len(fields)}: correct it.")
    name, *times = fields[:3]
    check_key(name, place.rstrip(","))
    start, end = (_time(place, text) for text in times)
    if not end - start >= SHORTEST:
        raise Refusal(f"A segment must end after its start, but {place} goes from {start} to {end}: correct it.")
    return Clip(_key(name, start, end), start, end)


def _time(place: str, text: str) -> float:
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if not 0 <= time < math.inf:
        raise Refusal(
            f"A segment's times are seconds from 0 on, but {place} has {text!r}: correct it; a heading begins with #."
        )
    return round(time, 3)


def _tens(part: Clip, zero: float, seconds: float) -> Cut:
    """A part of a file that has `seconds`, whose own second 0 is the part's second `zero`; by tens where longer."""
    if part.end - part.start <= SECONDS + SHORTEST / 2:
        pieces, dropped = [(part.start, part.end)], 0.0
    else:
        pieces, dropped = _pieces(part.start, part.end)
    name, whole = feature_id(part.key), len(pieces) == 1 and not dropped
    clips = [
        Clip(part.key if whole else _key(name, start, end), start - zero, min(end - zero, seconds))
        for start, end in pieces
    ]
    late = [clip for clip in clips if clip.start > seconds - SHORTEST]
    return Cut(tuple(clip for clip in clips if clip not in late), dropped, tuple(late))


def _pieces(start: float, end: float) -> tuple[list[tuple[float, float]], float]:
    """[start, end) by tens, times rounded to milliseconds, and the tail that was left out, in seconds."""
    over = (end - start) % 1
    if end - start > 1 and over < SLIVER:
        end -= over
    count = max(1, math.ceil((end - start - SHORTEST / 2) / SECONDS))
    edges = [round(start + SECONDS * number, 3) for number in range(count)]
    last = max(round(end, 3), round(start + SHORTEST, 3))
    pieces = list(zip(edges, [*edges[1:], last], strict=True))
    tail = pieces[-1][1] - pieces[-1][0]
    return (pieces[:-1], tail) if count > 1 and tail < SLACK else (pieces, 0.0)


def _key(name: str, start: float, end: float) -> str:
    return f"{name}_{_number(start)}_{_number(end)}"


def _number(seconds: float) -> str:
    """To the millisecond, as short as it goes: 30, 101.8."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _in_order(clips: Sequence[Clip]) -> tuple[Clip, ...]:
    return tuple(sorted(clips, key=lambda clip: (clip.start, clip.end)))
