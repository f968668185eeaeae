"""The files that are asked for: found in folders and below them, in the order of their names."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
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
    where no file is found at all.
    """
    files, failures = dict[Path, VideoFile](), list[Failure]()
    for place in places:
        for path, name in _below(place, pattern, aside):
            try:
                found = path.stat()
            except OSError as error:
                failures.append(Failure(name, None, f"A file must be readable, but this one is not: {error.strerror}."))
                continue
            if stat.S_ISREG(found.st_mode):
                files[path] = VideoFile(name, path, (found.st_size, found.st_mtime_ns))
            else:
                failures.append(Failure(name, None, "A video must be a file, but this is a pipe, socket or device."))
    if not files and not failures:
        where = ", ".join(f"'{printable(str(place))}'" for place in places)
        raise Refusal(
            f"Videos must be there to be extracted, but no file fits '{pattern}' in {where} (hidden ones are left "
            "aside): name another folder, or another --pattern."
        )
    return Found(tuple(sorted(files.values(), key=lambda file: (file.name, str(file.path)))), tuple(failures))


def _below(place: Path, pattern: str, aside: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Path and name of what is asked for at a place; links are followed, in circles once."""
    if not place.is_dir():
        if not os.path.lexists(place):
            raise Refusal(
                f"Videos must come from a folder or a file, but '{printable(str(place))}' is not there: look for it."
            )
        yield place.absolute(), place.name
        return
    top = place.absolute()
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
