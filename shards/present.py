"""Which snippets of videos there are: seconds within a video's length, in which its file has sound, or a picture.

A set that holds the feature `PRESENT` says which modality each second has; in one without it every second has both.
"""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool, Shaped

from launch.refusal import Refusal
from shards.schema import MODALITIES, PRESENT, SECONDS, seconds_of


def told_by(features: Collection[str]) -> tuple[str, ...]:
    """What has to be read, beside what is wanted of these features of a set, to know what is present: `PRESENT`, or
    nothing."""
    return (PRESENT,) if PRESENT in features else ()


def as_told(stored: Shaped[np.ndarray, "video second _"], place: str) -> Bool[np.ndarray, "modality video second"]:
    """Which seconds have audio and which a picture, from rows of `PRESENT`; `place` is where they were read.

    Raises Refusal where they are not a number a modality.
    """
    if stored.shape[2] != len(MODALITIES):
        raise Refusal(
            f"The feature '{PRESENT}' must have a number for each of {', '.join(MODALITIES)}, but has "
            f"{stored.shape[2]} in '{place}': extract it again."
        )
    return np.moveaxis(stored > 0.5, 2, 0)


def snippets_there(
    keys: Sequence[str], told: Bool[np.ndarray, "modality video second"] | None = None
) -> Bool[np.ndarray, "modality video second"]:
    """Which snippets of these videos there are, by the times in their keys and what `as_told` gave (None: nobody says).

    >>> snippets_there(["short_30_32"])[:, 0, :4].tolist()
    [[True, True, False, False], [True, True, False, False]]
    """
    lengths = np.array([seconds_of(key) for key in keys], np.int64)
    exists = np.broadcast_to(np.arange(SECONDS) < lengths[:, None], (len(MODALITIES), len(keys), SECONDS))
    return exists.copy() if told is None else exists & told
