"""Videos to parse whose features are `.npy` files, one folder a feature, as `pack` reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from finetune.batches import Missing, Traits, check_same
from finetune.parses.videos import Few, Videos, check_wanted, described
from launch.refusal import Refusal
from launch.tracking import Thing
from shards.labels import SPLITS, Tables, feature_id
from shards.read import ReadSettings
from shards.schema import Feature, Video, check_features, seconds_of
from shards.sources import BadVideo, Source, unreadable
from shards.sources.arrays import LLP_NAMES
from shards.sources.join import Selection, check_distinct, join
from shards.sources.npy import SUFFIX, open_folders


@dataclass(frozen=True)
class OfFolders:
    """Videos whose features are `.npy` files, one folder a feature."""

    selection: Selection
    keys: tuple[str, ...]
    on_bad: Literal["stop", "skip"]

    def told(self) -> dict[str, Any]:
        """The folders and the features in them."""
        sources = self.selection.sources
        told = described({each.reader.feature.name: each.reader.feature for each in sources})
        return {
            "videos": len(self.keys),
            "features": told,
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
        arrays, known = dict[str, np.ndarray](), dict[str, Feature]()
        for source, (name, place) in zip(self.selection.sources, self.selection.places(key), strict=True):
            feature = source.reader.feature
            try:
                read = source.reader.read(name, place, seconds_of(key))
            except OSError as error:
                raise unreadable(source.reader.where(name), error) from None
            with np.errstate(over="ignore"):
                arrays[feature.name] = read.astype(feature.dtype)
            known[feature.name] = feature
        video = Video(key, arrays)
        try:
            check_features(video, known)
        except Refusal as fault:
            raise BadVideo(*fault.args) from None
        return video


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
    check_wanted(wanted, {*keys, *lacking}, str(parent))
    for key in wanted:
        if key in lacking:
            raise Refusal(f"A video to parse must have every feature, but '{key}' lacks '{lacking[key]}': extract it.")
    return [OfFolders(selection, tuple(wanted) or keys, reading.on_bad)]


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
