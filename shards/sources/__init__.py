"""Where features come from before they are shards: what a source is, and what may be wrong with one video of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from launch.refusal import Refusal
from shards.schema import SECONDS, Feature

Place = tuple[int, ...]
"""Where a source finds a video: numbers that its reader knows to read, such as a file's and an offset's."""


Stamp = tuple[str, int, int]
"""The state of a file: its name, size in bytes, and time of change in nanoseconds."""


class BadVideo(Refusal):
    """One video cannot be used, and all others can: its array is unreadable, of another shape, short or not finite."""


class Reader(Protocol):
    """Reads one feature. Small, without the list of videos, and without open files: every process gets a copy."""

    @property
    def feature(self) -> Feature:
        """What it reads."""

    def where(self, name: str) -> str:
        """Where the feature of a video lies, or would lie, in the words of a person."""

    def stamp(self, name: str, place: Place) -> tuple[object, ...]:
        """What changes when the file behind a place does, or what it holds there; OSError when it is gone."""

    def read(self, name: str, place: Place, seconds: int = SECONDS) -> Float[np.ndarray, "second width"]:
        """The feature of a video, float32, one row a second, SECONDS of them; zeros after those that it has.

        Raises BadVideo for a bad one, Refusal for a bad container, and OSError for a file that cannot be read.
        """


@dataclass(frozen=True)
class Source:
    """One feature of many videos."""

    reader: Reader
    places: Mapping[str, Place]
    """Name of a video here (its key, or its id alone) → where it is."""
    told: Mapping[str, Any]
    """What the manifest says of the source: no absolute path, no time, no credentials."""


def find_files(patterns: Sequence[str], suffix: str) -> list[Path]:
    """The files with a suffix in folders (at any depth), or that match glob patterns; sorted, each once.

    Raises Refusal for a pattern that finds none.
    """
    files: set[Path] = set()
    for pattern in patterns:
        folder = Path(pattern)
        found = folder.rglob(f"*{suffix}") if folder.is_dir() else map(Path, glob(pattern, recursive=True))
        there = {path for path in found if path.is_file()}
        if not there:
            raise Refusal(
                f"A source must hold files, but '{pattern}' is no folder with {suffix} files, nor matches any."
            )
        files |= there
    return sorted(files)


def stamp_of(path: Path) -> Stamp:
    """The state of a file."""
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns


def unreadable(place: object, error: OSError) -> Refusal:
    """The sentence for a file that is not there, or that the disk or the network does not give."""
    return Refusal(
        f"Every input must be readable, but '{place}' is not ({error.strerror or error}): put it back, or mend what it "
        "lies on."
    )
