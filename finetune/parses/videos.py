"""The videos to parse, a few at a time, wherever they come from: `of_shards`, or `of_folders` of feature files."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool

from launch.refusal import Refusal
from launch.tracking import Thing
from shards.schema import Feature

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
    present: Bool[np.ndarray, "modality video second"] | None = None
    """Which seconds have audio and which a picture; None where nobody says so."""


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


def check_wanted(wanted: Sequence[str], there: Mapping[str, object] | set[str], place: str) -> None:
    """Raises Refusal for a wanted key that is named twice or not there, with the nearest that is."""
    doubled = [key for key in wanted if wanted.count(key) > 1] if len(set(wanted)) < len(wanted) else []
    if doubled:
        raise Refusal(f"A video is parsed once, but '{doubled[0]}' is named twice in --videos: leave one out.")
    for key in wanted:
        if key not in there:
            near = difflib.get_close_matches(key, there, n=1, cutoff=0.6)
            remedy = f"did you mean '{near[0]}'?" if near else "name a key that is there."
            raise Refusal(f"A video to parse must be there, but '{key}' is not in '{place}': {remedy}")


def described(features: Mapping[str, Feature]) -> dict[str, str]:
    """What these features are, in words."""
    return {name: " · ".join(filter(None, (one.variant, one.source))) for name, one in features.items()}
