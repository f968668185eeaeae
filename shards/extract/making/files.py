"""The files that are asked for: found in folders and below them, in the order of their names."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath

from launch.refusal import Refusal
from shards.extract.making.failures import Failure, printable


@dataclass(frozen=True)
class VideoFile:
    """A file that may be a video."""

    name: str
    """Its path below the folder that was named; of a file that was named, the name alone."""
    path: Path
    """Absolute."""
    stamp: tuple[int, int]
    """Size in bytes, and when it was last changed, in nanoseconds."""

    @property
    def stem(self) -> str:
        """What its clips are called by."""
        return PurePosixPath(self.name).stem


@dataclass(frozen=True)
class Found:
    """What there is in the places that were named."""

    files: tuple[VideoFile, ...]
    failures: tuple[Failure, ...]
    """Names that lead to no file."""


def find(places: Sequence[Path], pattern: str, aside: Sequence[Path] = ()) -> Found:
    """The files in folders and below them whose names fit the pattern, and the files that are named themselves.

    Hidden files and folders, and the folders `aside`, are left out. Raises Refusal for a place that is not there, and
    where no file is found at all. A file that is asked for twice, by whatever spelling, is one.
    """
    files, failures = dict[tuple[str, str], VideoFile](), list[Failure]()
    home = cache(os.path.realpath)
    for place in places:
        for path, name in _below(place, pattern, aside):
            try:
                found = path.stat()
            except OSError as error:
                failures.append(Failure(name, None, f"A file must be readable, but this one is not: {error.strerror}."))
                continue
            if stat.S_ISREG(found.st_mode):
                files[home(path.parent), path.name] = VideoFile(name, path, (found.st_size, found.st_mtime_ns))
            else:
                failures.append(Failure(name, None, "A video must be a file, but this is a pipe, socket or device."))
    if not files and not failures:
        where = ", ".join(f"'{printable(str(place))}'" for place in places)
        raise Refusal(
            f"Videos must be there to be extracted, but no file fits '{pattern}' in {where} (hidden ones are left "
            "aside): name another folder, or another --pattern."
        )
    return Found(tuple(sorted(files.values(), key=lambda file: (file.name, str(file.path)))), tuple(failures))


def check_place(place: Path) -> None:
    """Raises Refusal for a path that no record of a run can hold; deeper in a folder names may be anything."""
    try:
        str(place).encode()
    except UnicodeEncodeError:
        raise Refusal(
            f"A path that is named must be text, but '{printable(str(place))}' has bytes that are no UTF-8: name the "
            "folder above it, or rename it."
        ) from None


def plain(path: Path) -> Path:
    """The path from the root on, without `..`, which links are followed for."""
    whole = path.absolute()
    if whole.name == "..":
        return whole.resolve()
    return whole.parent.resolve() / whole.name if ".." in whole.parts else whole


def _below(place: Path, pattern: str, aside: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Path and name of what is asked for at a place; links are followed, in circles once."""
    check_place(place)
    if not place.is_dir():
        if not os.path.lexists(place):
            raise Refusal(
                f"Videos must come from a folder or a file, but '{printable(str(place))}' is not there: look for it."
            )
        yield plain(place), place.name
        return
    top = plain(place)
    seen = {top.resolve(), *(folder.resolve() for folder in aside)}
    for here, folders, names in os.walk(top, onerror=_unreadable, followlinks=True):
        inside = Path(here)
        folders[:] = sorted(each for each in folders if not each.startswith(".") and _new(inside / each, seen))
        for name in names:
            if not name.startswith(".") and fnmatchcase(name, pattern):
                yield inside / name, (inside / name).relative_to(top).as_posix()


def _new(folder: Path, seen: set[Path]) -> bool:
    real = folder.resolve()
    if real in seen:
        return False
    seen.add(real)
    return True


def _unreadable(error: OSError) -> None:
    raise Refusal(
        f"A folder of videos must be readable, but '{printable(str(error.filename))}' is not ({error.strerror}): let "
        "it be read, or move it away."
    )
