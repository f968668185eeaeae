"""The videos to parse, a few at a time: from shards, or from folders of feature files as `pack` reads them."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from finetune.batches import Missing, Traits, check_same, traits
from launch.refusal import Refusal
from launch.tracking import Thing
from shards.labels import SPLITS, Tables, feature_id
from shards.location import Location
from shards.read import ReadSettings, Shards, open_sets
from shards.schema import Feature, Video, check_features, seconds_of
from shards.sources import BadVideo, Source, unreadable
from shards.sources.arrays import LLP_NAMES
from shards.sources.join import Selection, check_distinct, join
from shards.sources.npy import SUFFIX, open_folders
from shards.traced import shard_set

ALL: tuple[str, ...] = ()
"""Named as the videos to parse: all there are."""


@dataclass(frozen=True)
class Few:
    """A few videos, as they were read."""

    keys: tuple[str, ...]
    features: Mapping[str, np.ndarray]
    """Name → (video, second, width), in the stored dtype."""
    faults: tuple[str, ...]
    """One sentence for each bad video that was skipped."""


class Videos(Protocol):
    """Where videos come from: a shard set, or folders of feature files."""

    @property
    def keys(self) -> Sequence[str]:
        """The videos that are parsed, in this order."""

    def told(self) -> dict[str, Any]:
        """What `parses.json` says of them: where they come from, and which features these are."""

    def things(self) -> list[Thing]:
        """What the run says that was read: shard sets, which have digests."""

    def few(self, first: int, count: int) -> Few:
        """So many videos from this place on, read now; raises Refusal for a bad one that is not to be skipped."""


@dataclass(frozen=True)
class OfShards:
    """Videos of a shard set."""

    name: str
    shards: Shards
    features: tuple[str, ...]
    keys: tuple[str, ...]
    places: tuple[int, ...]

    def told(self) -> dict[str, Any]:
        """The set's name, manifest and origin."""
        manifest = self.shards.manifest
        described = _described({name: manifest.features[name] for name in self.features})
        return {
            "set": self.name,
            "videos": len(self.keys),
            "manifest": manifest.digest,
            "features": described,
            "source": dict(manifest.source),
        }

    def things(self) -> list[Thing]:
        """The set."""
        return [shard_set(self.shards, self.name)]

    def few(self, first: int, count: int) -> Few:
        """Reads them straight into arrays."""
        asked = self.places[first : first + count]
        rows = self.shards.batch(asked, self.features)
        named = dict(zip(asked, self.keys[first : first + count], strict=True))
        return Few(tuple(named[place] for place in rows.places.tolist()), rows.features, rows.faults)


@dataclass(frozen=True)
class OfFolders:
    """Videos whose features are `.npy` files, one folder a feature."""

    selection: Selection
    keys: tuple[str, ...]
    on_bad: Literal["stop", "skip"]

    def told(self) -> dict[str, Any]:
        """The folders and the features in them."""
        sources = self.selection.sources
        described = _described({each.reader.feature.name: each.reader.feature for each in sources})
        return {
            "videos": len(self.keys),
            "features": described,
            "source": {"inputs": [dict(each.told) for each in sources]},
        }

    def things(self) -> list[Thing]:
        """None: feature files have no digest."""
        return []

    def few(self, first: int, count: int) -> Few:
        """Reads file by file, and rounds as shards do, so that a video is parsed alike from either."""
        videos, faults = list[Video](), list[str]()
        for key in self.keys[first : first + count]:
            try:
                videos.append(self._video(key))
            except BadVideo as fault:
                if self.on_bad == "stop":
                    raise
                faults.append(str(fault))
        names = [source.reader.feature.name for source in self.selection.sources]
        arrays = {name: np.stack([video.features[name] for video in videos]) for name in names} if videos else {}
        return Few(tuple(video.key for video in videos), arrays, tuple(faults))

    def _video(self, key: str) -> Video:
        arrays, described = dict[str, np.ndarray](), dict[str, Feature]()
        for source, (name, place) in zip(self.selection.sources, self.selection.places(key), strict=True):
            feature = source.reader.feature
            try:
                read = source.reader.read(name, place, seconds_of(key))
            except OSError as error:
                raise unreadable(source.reader.where(name), error) from None
            with np.errstate(over="ignore"):
                arrays[feature.name] = read.astype(feature.dtype)
            described[feature.name] = feature
        video = Video(key, arrays)
        try:
            check_features(video, described)
        except Refusal as fault:
            raise BadVideo(*fault.args) from None
        return video


def from_shards(
    location: Location,
    expected: Mapping[str, Traits],
    wanted: Sequence[str],
    sets: Sequence[str],
    reading: ReadSettings,
) -> list[Videos]:
    """The wanted videos (`ALL`, or by key) of the named sets (all when none is named).

    Raises Refusal for a set that is not there, features other than the `expected`, a wanted key that no set holds, and
    a key that two sets hold.
    """
    found = open_sets(location, reading)
    unknown = [name for name in sets if name not in found]
    if unknown:
        names = ", ".join(repr(name) for name in found if name) or "one set without a name"
        raise Refusal(f"A set to parse must be there, but '{unknown[0]}' is not in '{location}', which has {names}.")
    chosen = {name: shards for name, shards in found.items() if name in sets or not sets}
    holder = dict[str, str]()
    for name, shards in chosen.items():
        check_same(expected, traits(shards, tuple(expected)), shards.location)
        for key in shards.keys:
            if key in holder:
                raise Refusal(
                    f"A video must be in one set, but '{key}' is in '{holder[key]}' and '{name}' of '{location}': "
                    "name the sets to parse (--sets)."
                )
            holder[key] = name
    _check_wanted(wanted, holder, str(location))
    return [_of_set(name, shards, tuple(expected), wanted) for name, shards in chosen.items()]


def from_folders(
    parent: Path,
    folders: Sequence[str],
    expected: Mapping[str, Traits],
    wanted: Sequence[str],
    tables: Tables | None,
    reading: ReadSettings,
    missing: Missing,
) -> list[Videos]:
    """The wanted videos (`ALL`, or by key) of the feature folders below `parent`, by their features' names.

    With tables a file `<id>.npy` is the video of that id in them, and files of no table are left out; without, a name
    that is no key starts at 0. Raises Refusal for features other than the `expected`, for what `shards.sources.join`
    refuses, and for a wanted key that is not there or lacks a feature.
    """
    sources = _open(parent, folders, expected)
    listed = None if tables is None else {"": _in_tables(tables, sources, parent)}
    lenient: Literal["stop", "skip"] = "skip" if missing == "skip" or wanted else "stop"
    selection = join(sources, listed, lenient)
    keys, lacking = tuple(selection.sets.get("", ())), selection.missing[""]
    _check_wanted(wanted, {*keys, *lacking}, str(parent))
    for key in wanted:
        if key in lacking:
            raise Refusal(f"A video to parse must have every feature, but '{key}' lacks '{lacking[key]}': extract it.")
    return [OfFolders(selection, tuple(wanted) or keys, reading.on_bad)]


def _of_set(name: str, shards: Shards, features: tuple[str, ...], wanted: Sequence[str]) -> OfShards:
    place = {key: index for index, key in enumerate(shards.keys)}
    keys = tuple(key for key in wanted if key in place) if wanted else shards.keys
    return OfShards(name, shards, features, keys, tuple(place[key] for key in keys))


def _open(parent: Path, folders: Sequence[str], expected: Mapping[str, Traits]) -> list[Source]:
    """One source a feature the parser reads; other folders are not looked into unless they are named."""
    there = sorted(path.name for path in parent.glob("*/") if any(path.glob(f"*{SUFFIX}")))
    names = folders or [name for name in there if LLP_NAMES.get(name, name) in expected]
    try:
        opened = open_folders(parent, names, "float16") if names else []
    except OSError as error:
        raise unreadable(error.filename or parent, error) from None
    check_distinct(opened)
    sources = {source.reader.feature.name: source for source in opened}
    lacking = [name for name in expected if name not in sources]
    if lacking:
        found = f"folders of .npy files {', '.join(folders or there)}" if there else "no folder of .npy files"
        raise Refusal(
            f"A parser needs the features it was trained on ({', '.join(expected)}), but '{lacking[0]}' is not in "
            f"'{parent}', which has {found}: extract it, or name the folders (--folders)."
        )
    features = {name: sources[name].reader.feature for name in expected}
    kinds = {name: Traits(width=one.width, variant=one.variant, encoder="") for name, one in features.items()}
    check_same(expected, kinds, str(parent))
    return [sources[name] for name in expected]


def _in_tables(tables: Tables, sources: Sequence[Source], parent: Path) -> list[str]:
    """The keys of the tables that some source has a file of, in their order."""
    names = {name for source in sources for name in source.places}
    keys = [key for split in SPLITS for key in tables.keys(split) if key in names or feature_id(key) in names]
    if not keys:
        raise Refusal(
            f"The tables must name the videos whose features there are, but they name none of those in '{parent}': "
            "give the tables of these videos, or none."
        )
    return keys


def _check_wanted(wanted: Sequence[str], there: Mapping[str, object] | set[str], place: str) -> None:
    doubled = [key for key in wanted if wanted.count(key) > 1] if len(set(wanted)) < len(wanted) else []
    if doubled:
        raise Refusal(f"A video is parsed once, but '{doubled[0]}' is named twice in --videos: leave one out.")
    for key in wanted:
        if key not in there:
            near = difflib.get_close_matches(key, there, n=1, cutoff=0.6)
            remedy = f"did you mean '{near[0]}'?" if near else "name a key that is there."
            raise Refusal(f"A video to parse must be there, but '{key}' is not in '{place}': {remedy}")


def _described(features: Mapping[str, Feature]) -> dict[str, str]:
    return {name: " · ".join(filter(None, (one.variant, one.source))) for name, one in features.items()}
