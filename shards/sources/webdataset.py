"""Features that are in WebDataset tars already, as members `<key>.<feature>.npy`; nothing but .npy is ever decoded."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from launch.progress import say, track
from launch.refusal import Refusal
from shards.schema import SECONDS, Feature, check_feature_name, check_key, key_of, seconds_of
from shards.sources import Place, Source, Stamp, find_files, stamp_of
from shards.sources.arrays import Spot, describe, load_array, per_second
from shards.tars.walk import walk

SUFFIX = ".tar"
ARRAY = ".npy"
BESIDE = (".json", ".txt", ".cls")
"""What a sample may hold beside its features; left out. Anything else is refused: it may be code."""
MOST = 1 << 28
"""Bytes that a member may have."""


@dataclass(frozen=True)
class TarArrays:
    """One feature in a list of tars; a place is the tar's number, and the member's first byte and length."""

    files: tuple[Path, ...]
    stamps: tuple[Stamp, ...]
    """The state of each file."""
    called: str
    feature: Feature
    rates: tuple[int, ...]
    """Rows a second that the arrays of shorter videos may have."""

    def where(self, name: str) -> str:
        """The member's name; which tar would hold it nobody knows."""
        return f"{self.files[0].parent}/*{SUFFIX}: {name}.{self.called}{ARRAY}"

    def stamp(self, name: str, place: Place) -> tuple[object, ...]:
        """The state of the file when it was listed, and the place in it."""
        return self.stamps[place[0]], *place[1:]

    def read(self, name: str, place: Place, seconds: int = SECONDS) -> Float[np.ndarray, "second width"]:
        """A video's feature; BadVideo as `load_array` and `per_second` say."""
        path, array = self.files[place[0]], f"{name}.{self.called}{ARRAY}"
        return per_second(_load(path, array, place), self.feature, _at(path, array), seconds, self.rates)


def open_tars(patterns: Sequence[str], dtype: str) -> list[Source]:
    """The features in folders or globs of tars, by name; reads every header once.

    Raises Refusal as `shards.tars.walk` does, for members that are neither .npy nor known to hold no code, a stem with
    an unescaped dot, a key or feature that cannot be one, and a feature of a key that comes twice.
    """
    files = tuple(find_files(patterns, SUFFIX))
    stamps = tuple(map(stamp_of, files))
    found: dict[str, dict[str, Place]] = {}
    beside: set[str] = set()
    for number, path in enumerate(track(files, "list tars", unit="tars")):
        for member in walk(path, MOST):
            if member.name.endswith(BESIDE):
                beside.add(os.path.splitext(member.name)[1])
                continue
            key, called = _split(path, member.name)
            places = found.setdefault(called, {})
            if key in places:
                first = files[places[key][0]]
                raise Refusal(f"A key must be unique, but '{member.name}' is in '{first}' and '{path}': leave one out.")
            places[key] = number, member.start, member.size
    if beside:
        say(f"Left out the members {', '.join(sorted(beside))}: only {ARRAY} members are features.")
    if not found:
        raise Refusal(f"Tars must hold members <key>.<feature>{ARRAY}, but '{files[0]}' and all others hold none.")
    return [_source(files, stamps, called, found[called], dtype) for called in sorted(found)]


def _source(
    files: tuple[Path, ...], stamps: tuple[Stamp, ...], called: str, places: dict[str, Place], dtype: str
) -> Source:
    ordered = dict(sorted(places.items()))
    folders = ", ".join(sorted({path.parent.resolve().name for path in files}))
    spots = (_spot(files[place[0]], name, called, place) for name, place in ordered.items())
    feature, rates = describe(called, spots, f"{folders}/*{SUFFIX}, <key>.{called}{ARRAY}", dtype)
    told = {
        "kind": "WebDataset tars",
        "name": folders,
        "feature": feature.name,
        "tars": len(files),
        "videos": len(places),
    }
    return Source(TarArrays(files, stamps, called, feature, rates), ordered, told)


def _split(path: Path, name: str) -> tuple[str, str]:
    """Key and feature of a member; Refusal for any name but `<key>.<feature>.npy`."""
    stem, _, rest = name.partition(".")
    called, _, suffix = rest.partition(".")
    if not name.endswith(ARRAY):
        raise Refusal(
            f"A tar's members must be {ARRAY} (or {', '.join(BESIDE)}, which are left out), but '{path}' holds "
            f"{name!r}, which is not opened: it may be code; leave it out of the tar."
        )
    if suffix and f".{suffix}" != ARRAY:
        before, feature = name.removesuffix(ARRAY).rsplit(".", 1)
        escaped = f"{before.replace('.', '%2E')}.{feature}{ARRAY}"
        raise Refusal(
            "A member must read <key>.<feature>.npy with '.' and '%' in the key escaped (%2E, %25), since WebDataset "
            f"splits names at the first dot, but '{path}' holds {name!r}: rename it {escaped!r}."
        )
    if not suffix:
        raise Refusal(
            f"A member must name its feature, as in <key>.<feature>{ARRAY}, but '{path}' holds {name!r}: rename it."
        )
    check_key(key_of(stem), f"'{path}'")
    check_feature_name(called, f"'{path}'")
    return key_of(stem), called


def _spot(path: Path, name: str, called: str, place: Place) -> Spot:
    array = f"{name}.{called}{ARRAY}"
    return Spot(_at(path, array), partial(_load, path, array, place), seconds_of(name))


def _load(path: Path, array: str, place: Place) -> Float[np.ndarray, "row width"]:
    _, start, size = place
    with path.open("rb", buffering=0) as file:
        payload = os.pread(file.fileno(), size, start)
    if len(payload) < size:
        raise Refusal(f"A tar must stay as it is while it is packed, but '{path}' was cut: put it back.")
    return load_array(io.BytesIO(payload), _at(path, array))


def _at(path: Path, array: str) -> str:
    return f"{path}: {array}"
