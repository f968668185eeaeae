"""Feature files as extractors leave them: one `<id>.npy` a video in one folder a feature, LLP's layout or any other."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from launch.refusal import Refusal
from shards.schema import SECONDS, Feature, check_feature_name, seconds_of
from shards.sources import Place, Source, Stamp, stamp_of
from shards.sources.arrays import Spot, describe, load_array, per_second

SUFFIX = ".npy"


@dataclass(frozen=True)
class ArrayFolder:
    """A folder of `<id>.npy` files that hold one feature; a name says all, so a place says nothing."""

    path: Path
    feature: Feature
    rates: tuple[int, ...]
    """Rows a second that the arrays of shorter videos may have."""

    def where(self, name: str) -> str:
        """The file's path; `name` is the key without its two times, or the whole key."""
        return str(self.path / f"{name}{SUFFIX}")

    def stamp(self, name: str, place: Place) -> Stamp:
        """The state of the video's file."""
        return stamp_of(self.path / f"{name}{SUFFIX}")

    def read(self, name: str, place: Place, seconds: int = SECONDS) -> Float[np.ndarray, "second width"]:
        """A video's feature; BadVideo as `load_array` and `per_second` say."""
        file = self.path / f"{name}{SUFFIX}"
        return per_second(_load(file), self.feature, str(file), seconds, self.rates)


def open_folders(parent: Path, names: Sequence[str], dtype: str) -> list[Source]:
    """The feature folders below `parent`: the named ones, or all that hold .npy files when none is named."""
    if not names:
        names = sorted(path.name for path in parent.glob("*/") if any(path.glob(f"*{SUFFIX}")))
    if not names:
        raise Refusal(
            f"A corpus must have feature folders, but '{parent}' has none with .npy files in it: "
            "give the folder above vggish/, res152/, …"
        )
    return [_open(parent / name, dtype) for name in names]


def _open(path: Path, dtype: str) -> Source:
    places = _files(path)
    if not places:
        raise Refusal(f"A feature folder must hold .npy files, but '{path}' holds none: give the folder above it.")
    name = path.resolve().name
    check_feature_name(name, f"'{path.parent}'")
    files = ((stem, path / f"{stem}{SUFFIX}") for stem in places)
    spots = (Spot(str(file), partial(_load, file), seconds_of(stem)) for stem, file in files)
    feature, rates = describe(name, spots, f"{name}/<id>{SUFFIX}", dtype)
    told = {"kind": "npy folder", "name": name, "videos": len(places)}
    return Source(ArrayFolder(path, feature, rates), places, told)


def _files(path: Path) -> dict[str, Place]:
    """The stems of the .npy files in a folder, sorted, without places; those of several folders share their memory."""
    if not path.is_dir():
        return {}
    with os.scandir(path) as entries:
        stems = [
            entry.name.removesuffix(SUFFIX) for entry in entries if entry.name.endswith(SUFFIX) and entry.is_file()
        ]
    return dict.fromkeys(map(sys.intern, sorted(stems)), ())


def _load(file: Path) -> Float[np.ndarray, "row width"]:
    with file.open("rb") as stream:
        return load_array(stream, str(file))
