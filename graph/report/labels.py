"""What videos are about, for judging components by: LLP's weak tables, or AudioSet's segments.

A weak table is tab separated (`filename`, `event_labels`; `shards.tables`). AudioSet's segments are comma separated
below comment lines: `YTID, start_seconds, end_seconds, "label,label"`, which is the video `<YTID>_<start>_<end>`.
Nothing of the graph depends on labels; they say how true its positives are, where somebody knows.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from launch.refusal import Refusal
from shards.tables import CATEGORIES, WEAK_COLUMNS, read_weak

Labels = Mapping[str, frozenset[str]]
"""The labels of each video by its key."""


def read_labels(paths: Sequence[Path]) -> Labels:
    """The labels of all the tables together, by key; of no tables, none.

    Raises Refusal for a file that is neither kind of table, a row that is not of its kind (naming the line), and a
    video that two rows give different labels.
    """
    found: dict[str, frozenset[str]] = {}
    for path in paths:
        for place, key, labels in _table(path):
            if found.setdefault(key, labels) != labels:
                raise Refusal(
                    f"A video has one set of labels, but {place} gives {key!r} {sorted(labels)} where an earlier row "
                    f"gave {sorted(found[key])}: remove one of them."
                )
    return found


def labels_of(keys: Sequence[str], labels: Labels) -> list[frozenset[str]]:
    """The labels of each video, in the order of the keys; none for a video that no table names.

    A key whose times are written another way (`30.000` for `30`) is the same video.
    """
    return [labels.get(key) or labels.get(plain_key(key)) or frozenset() for key in keys]


def plain_key(key: str) -> str:
    """The key with its two times as short as they can be; as it stands, where it does not end in two times.

    >>> plain_key("a_b_30.000_40.500")
    'a_b_30_40.5'
    """
    name, _, times = key.rpartition("_")
    name, _, start = name.rpartition("_")
    try:
        return f"{name}_{_seconds(start)}_{_seconds(times)}" if name else key
    except ValueError:
        return key


def _table(path: Path) -> Iterator[tuple[str, str, frozenset[str]]]:
    """The place, the key and the labels of each row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"Labels must be a text file in UTF-8, but '{path}' is not ({error}): check the path.") from None
    if text.startswith("#"):
        yield from _segments(path, text)
    elif text.split("\n", 1)[0].rstrip("\r") == "\t".join(WEAK_COLUMNS):
        for key, indices in read_weak(path, []).items():
            yield str(path), key, frozenset(CATEGORIES[index] for index in indices)
    else:
        raise Refusal(
            "Labels must be a weak table (tab-separated 'filename', 'event_labels') or AudioSet's segments (comment "
            f"lines that begin with '#', then YTID, start, end, labels), but '{path}' begins with "
            f"{text[:40]!r}: give one of these tables."
        )


def _segments(path: Path, text: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line and line[0] != "#"]
    if not lines:
        raise Refusal(f"A table of segments must name videos, but '{path}' holds only comments: give another file.")
    for (number, line), fields in zip(
        lines, csv.reader((line for _, line in lines), skipinitialspace=True), strict=True
    ):
        place = f"'{path}', line {number},"
        try:
            name, start, end, names = fields
            key = f"{name}_{_seconds(start)}_{_seconds(end)}"
        except ValueError:
            raise Refusal(
                f'A row of segments must read YTID, start, end, "label,label" (seconds), but {place} is {line!r}: '
                "correct the row."
            ) from None
        labels = frozenset(label.strip() for label in names.split(",") if label.strip())
        if not labels or not name:
            raise Refusal(f"A segment must have a video and a label, but {place} is {line!r}: correct or remove it.")
        yield place, key, labels


def _seconds(text: str) -> str:
    """A time as short as it can be: `30.000` is `30`; raises ValueError for what is no time."""
    whole, _, rest = text.strip().partition(".")
    if not (whole + rest).isascii() or not whole.isdigit() or not (rest or "0").isdigit():
        raise ValueError(text)
    return f"{int(whole)}.{rest.rstrip('0')}".rstrip(".")
