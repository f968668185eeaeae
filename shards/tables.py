"""The format of LLP's annotation tables: their rows, read and written exactly as their authors do.

All are tab separated with one header line. Weak tables (`AVVP_train.csv`, `AVVP_val_pd.csv`, `AVVP_test_pd.csv` and
`AVVP_dataset_full.csv`, the three together) name a video's categories; dense tables (`AVVP_eval_audio.csv`,
`AVVP_eval_visual.csv`) name one span a row, in whole seconds, `[onset, offset)`. The published tables have defects
that are known and harmless: they are reported (`Defects`), never repaired in silence, and nothing else is lost.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from launch.refusal import Refusal
from shards.schema import SECONDS, check_key

CATEGORIES: tuple[str, ...] = (
    "Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw", "Cello",
    "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter", "Accordion",
    "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing", "Baby_cry_infant_cry",
    "Blender", "Clapping",
)  # fmt: skip
WEAK_COLUMNS = ("filename", "event_labels")
DENSE_COLUMNS = ("filename", "onset", "offset", "event_labels")
_INDEX = {name: index for index, name in enumerate(CATEGORIES)}
_KEY = re.compile(r"(?P<id>.+)_\d+(\.\d+)?_\d+(\.\d+)?")


class Span(NamedTuple):
    """An event of one modality: `category` (index into `CATEGORIES`) from second `onset` to before `offset`."""

    category: int
    onset: int
    offset: int


class Row(NamedTuple):
    """A row of a table as it stands there; `line` counts from 1, the header."""

    file: str
    line: int
    text: str


@dataclass(frozen=True)
class Defects:
    """The rows that were not taken as they stand. `unknown` and `empty` rows are dropped (one row may be both)."""

    unknown: tuple[Row, ...] = ()  # dense rows whose key no weak table knows
    empty: tuple[Row, ...] = ()  # dense rows with offset <= onset
    repeated: tuple[Row, ...] = ()  # dense rows that equal an earlier row: kept, they say nothing new
    doubled: tuple[Row, ...] = ()  # weak rows that name a category twice: taken once

    @property
    def dropped(self) -> tuple[Row, ...]:
        """The dense rows that are not in the tables' spans, each once, in the order of file and line."""
        return tuple(sorted({*self.unknown, *self.empty}))

    def report(self) -> str:
        """One paragraph for a person; a sentence saying so when there are no defects."""
        if not (self.unknown or self.empty or self.repeated or self.doubled):
            return "The tables have no defects."
        labels = list({row.text: row for row in self.doubled}.values())
        return (
            f"The tables have known kinds of defects: {_count(self.unknown, 'dense row')} of ids that no weak table "
            f"knows{_places(self.unknown)}, {_count(self.empty, 'empty or inverted span')}{_places(self.empty)} "
            f"(together {_count(self.dropped, 'row')} dropped), {_count(self.repeated, 'exact repeat')} of a dense row "
            f"(kept, harmless){_places(self.repeated)} and {_count(labels, 'weak label')} with a category named twice "
            f"(taken once){_places(self.doubled)}. Everything else is used as it stands."
        )


def feature_id(key: str) -> str:
    """The name of a video's feature files: its key `<id>_<start>_<end>` without the last two fields."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise Refusal(f"A video's key must read <id>_<start>_<end> (seconds), but {key!r} does not: rename the video.")
    return match["id"]


def read_weak(path: Path, doubled: list[Row]) -> dict[str, tuple[int, ...]]:
    videos: dict[str, tuple[int, ...]] = {}
    for row, (key, labels) in _rows(path, WEAK_COLUMNS):
        if key in videos:
            raise Refusal(f"A weak table names a video once, but {_at(row)} names {key!r} again: remove one row.")
        indices = [_category(row, name) for name in labels.split(",")]
        if len(set(indices)) < len(indices):
            doubled.append(row)
        videos[key] = tuple(sorted(set(indices)))
    return videos


def read_dense(path: Path, known: set[str]) -> tuple[dict[str, tuple[Span, ...]], Defects]:
    """The spans of a dense table by key, repeats kept; rows of keys not in `known` and empty spans are left out."""
    spans: dict[str, list[Span]] = {}
    unknown, empty, repeated = [], [], []
    for row, (key, *seconds, label) in _rows(path, DENSE_COLUMNS):
        onset, offset = (_second(row, name, text) for name, text in zip(("onset", "offset"), seconds, strict=True))
        span = Span(_category(row, label), onset, offset)
        if key not in known:
            unknown.append(row)
        if offset <= onset:
            empty.append(row)
        if key not in known or offset <= onset:
            continue
        if span in spans.setdefault(key, []):
            repeated.append(row)
        spans[key].append(span)
    return {key: tuple(s) for key, s in spans.items()}, Defects(tuple(unknown), tuple(empty), tuple(repeated))


def write_dense(path: Path, spans: Mapping[str, Iterable[Span]]) -> None:
    """Writes a dense table, keys and spans in the given order."""
    lines = [f"{key}\t{s.onset}\t{s.offset}\t{CATEGORIES[s.category]}" for key, row in spans.items() for s in row]
    path.write_bytes("".join(f"{line}\n" for line in ("\t".join(DENSE_COLUMNS), *lines)).encode())


def write_weak(path: Path, videos: Mapping[str, Iterable[int]]) -> None:
    lines = [f"{key}\t{','.join(CATEGORIES[c] for c in labels)}" for key, labels in videos.items()]
    path.write_bytes("".join(f"{line}\n" for line in ("\t".join(WEAK_COLUMNS), *lines)).encode())


def _rows(path: Path, columns: tuple[str, ...]) -> Iterable[tuple[Row, list[str]]]:
    """The rows below the header with their fields, keys checked."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except OSError as error:
        raise Refusal(
            f"The tables need the file {path}, but it cannot be read ({error.strerror}): "
            "name the folder of the six LLP tables."
        ) from None
    except UnicodeDecodeError as error:
        raise Refusal(f"A table must be UTF-8 text, but {path} is not ({error}): save it as UTF-8.") from error
    if tuple(lines[0].split("\t")) != columns:
        raise Refusal(
            f"{path} must begin with the tab-separated columns {columns}, but line 1 is {lines[0]!r}: fix it."
        )
    for number, text in enumerate(lines[1:], start=2):
        row, fields = Row(str(path), number, text), text.split("\t")
        if len(fields) != len(columns):
            raise Refusal(f"A row must have the {len(columns)} columns {columns}, but {_at(row)} is {text!r}: fix it.")
        try:
            check_key(fields[0])
            feature_id(fields[0])
        except Refusal as refusal:
            raise Refusal(f"{_at(row)}: {refusal}") from None
        yield row, fields


def _category(row: Row, name: str) -> int:
    if name not in _INDEX:
        near = difflib.get_close_matches(name, CATEGORIES, n=1, cutoff=0.0)[0]
        raise Refusal(f"{_at(row)} names the unknown category {name!r}: correct it, {near!r} is the nearest of the 25.")
    return _INDEX[name]


def _second(row: Row, name: str, text: str) -> int:
    if not re.fullmatch(r"\d+", text, re.ASCII) or int(text) > SECONDS:
        raise Refusal(
            f"{name} must be a whole second from 0 to {SECONDS}, but {_at(row)} has {text!r}: correct the row."
        )
    return int(text)


def _at(row: Row) -> str:
    return f"{row.file}, line {row.line},"


def _count(rows: Sequence[Row], what: str) -> str:
    return f"{len(rows)} {what}{'' if len(rows) == 1 else 's'}"


def _places(rows: Sequence[Row]) -> str:
    """` (in <file>, lines 4 and 7; …)`: at most three lines a file, for a report."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        lines.setdefault(Path(row.file).name, []).append(str(row.line))
    texts = [f"{file}: line {', '.join(n[:3])}{' …' if len(n) > 3 else ''}" for file, n in lines.items()]
    return f" [{'; '.join(texts)}]" if texts else ""
