"""What a video is: its key, and its named features, one row a second."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from launch.refusal import Refusal

WIDEST = 1 << 16
"""Numbers a second that a feature may have; more is taken for a fault, since batches are made from it."""
SECONDS = 10
"""Length of a video in seconds; every feature is stored with one row a second, zeros where a video is shorter."""
_TIMES = re.compile(r"_(?P<start>\d+(\.\d+)?)_(?P<end>\d+(\.\d+)?)$")
MODALITIES = ("audio", "visual")
"""In the order in which they are stacked wherever both are."""
PRESENT = "present"
"""The feature, a number a modality, that says which seconds have audio and which a picture (1, else 0), where a set
holds it: what extraction finds in files; a set without it holds both everywhere."""


@dataclass(frozen=True)
class Feature:
    """A named array of every video in a shard set, stored as (SECONDS, width)."""

    name: str
    width: int
    variant: str = ""
    """Which of several arrays that go by one name this is; VGGish raw, PCA'd and quantised are three features."""
    source: str = ""
    """Where it came from, in words: a folder, an encoder's digest, a generator and its version."""
    dtype: str = "float16"


@dataclass(frozen=True)
class Video:
    """A clip of at most ten seconds: its key and its features, each (SECONDS, width), zeros after its end."""

    key: str
    features: Mapping[str, np.ndarray]


def check_key(key: str, place: str = "") -> None:
    """Raises Refusal for a key that cannot name a tar member: empty, with `/`, or with a control character."""
    bad = [character for character in key if character == "/" or not character.isprintable()]
    if not key or bad:
        found = f"{key!r} holds {bad[0]!r}" if bad else "an empty key was found"
        where = f" in {place}" if place else ""
        raise Refusal(f"A video's key must be printable and free of '/', but {found}{where}: rename the video.")


def check_feature_name(name: str, place: str = "") -> None:
    """Raises Refusal for a name that no feature can have: empty, with `/` or a control character, or `__metadata__`."""
    bad = [character for character in name if character == "/" or not character.isprintable()]
    if not name or bad or name == "__metadata__":
        where = f" in {place}" if place else ""
        raise Refusal(
            f"A feature's name must be printable, free of '/' and not '__metadata__', but {name!r} was found{where}: "
            "rename the feature."
        )


def check_distinct(features: Sequence[Feature], place: str = "") -> None:
    """Raises Refusal unless all features have sound names of their own, and widths from 1 to WIDEST."""
    names = [feature.name for feature in features]
    for feature in features:
        check_feature_name(feature.name, place)
        where = f" in {place}" if place else ""
        if names.count(feature.name) > 1:
            raise Refusal(f"A feature's name must be unique, but '{feature.name}' comes twice{where}: rename one.")
        if not 1 <= feature.width <= WIDEST:
            raise Refusal(
                f"A feature must have 1 to {WIDEST} numbers a second, but '{feature.name}' has {feature.width}{where}: "
                "extract it again."
            )


def seconds_of(key: str) -> int:
    """How many seconds of a video exist, by the times in its key `<id>_<start>_<end>`: 1 to SECONDS.

    A last second that is begun counts; a key without times, or with times that are no clip's, is one of SECONDS.

    >>> seconds_of("AP0061o0Nvk_101.8_111.8"), seconds_of("short_30_37")
    (10, 7)
    """
    match = _TIMES.search(key)
    length = float(match["end"]) - float(match["start"]) if match else SECONDS
    return min(SECONDS, ceil(round(length, 3))) if length > 0 else SECONDS


def stem_of(key: str) -> str:
    """The member's name without suffix: `%` and `.` escaped, since WebDataset splits names at the first dot.

    >>> stem_of("AP0061o0Nvk_101.8_111.8")
    'AP0061o0Nvk_101%2E8_111%2E8'
    """
    return key.replace("%", "%25").replace(".", "%2E")


def key_of(stem: str) -> str:
    """The key a member's stem stands for: the inverse of `stem_of`."""
    return stem.replace("%2E", ".").replace("%25", "%")


def check_features(video: Video, features: Mapping[str, Feature]) -> None:
    """Raises Refusal unless the video has exactly these features, each (SECONDS, width) and finite."""
    if set(video.features) != set(features):
        raise Refusal(
            f"Every video of a shard set must have the features {sorted(features)}, but '{video.key}' has "
            f"{sorted(video.features)}: pack the missing ones or leave them out for all."
        )
    for name, array in video.features.items():
        expected = (SECONDS, features[name].width)
        if array.shape != expected:
            raise Refusal(
                f"Feature '{name}' must have shape {expected}, but is {array.shape} in video '{video.key}': "
                "extract it again for this video."
            )
        if not np.isfinite(array).all():
            raise Refusal(
                f"Feature values must be finite, but '{name}' of video '{video.key}' holds {_worst(array)} "
                f"(as {features[name].dtype}): extract it again, or store it as float32 if float16 overflows."
            )


def _worst(array: np.ndarray) -> str:
    second, column = np.argwhere(~np.isfinite(array))[0]
    return f"{array[second, column]} at second {second}, column {column}"
