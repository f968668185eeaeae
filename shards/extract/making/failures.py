"""What could not be used, and why: a row a fault, in the order of the files."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from launch.progress import say

OnBad = Literal["skip", "stop"]
"""What a file or clip that is no use does: it is left out and listed, or it stops the extraction."""
NAME = "failures.csv"
"""The file, in the result and in the run, that lists all."""
COLUMNS = ("file", "second", "reason")
FEW = 5
"""Failures that are told on the screen."""


@dataclass(frozen=True)
class Failure:
    """A file, or a clip of it, that was left out."""

    file: str
    """The file's name; an id of the list that names none."""
    second: float | None
    """Where in the file, in seconds; None where it is the whole file."""
    reason: str
    """One sentence."""

    def __str__(self) -> str:
        where = "" if self.second is None else f", second {self.second:g}"
        return printable(f"{self.file}{where}: {self.reason}")


def in_order(failures: Iterable[Failure]) -> list[Failure]:
    """Each fault once, by the name of the file and by time."""
    return sorted(dict.fromkeys(failures), key=lambda each: (each.file, -1.0 if each.second is None else each.second))


def table(failures: Sequence[Failure]) -> str:
    """The text of `failures.csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in failures:
        second = "" if each.second is None else f"{each.second:g}"
        writer.writerow([printable(each.file), second, printable(each.reason)])
    return text.getvalue()


def read(text: str) -> list[Failure]:
    """The failures that `table` wrote down."""
    rows = csv.DictReader(io.StringIO(text))
    return [Failure(row["file"], float(row["second"]) if row["second"] else None, row["reason"]) for row in rows]


def tell(failures: Sequence[Failure]) -> None:
    """Says how much was left out, and the first of it."""
    if failures:
        first = "".join(f"\n  {each}" for each in failures[:FEW])
        more = f"\n  … and {len(failures) - FEW} more" if len(failures) > FEW else ""
        say(f"Left out, as {NAME} lists:{first}{more}")


def printable(text: str) -> str:
    """A text of which every character can be shown: others, such as line breaks in names, as their escapes.

    >>> printable("a\\nb"), printable("日本 ü")
    ('a\\\\nb', '日本 ü')
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def counted(count: int, what: str) -> str:
    """So many of them: "1 clip", "1,200 clips"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
