"""What an array must be to become a feature, wherever it comes from: whole, finite, and of one variant."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import tee
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float

from launch.refusal import Refusal
from shards.schema import SECONDS, Feature
from shards.sources import BadVideo

LLP_NAMES = {"vggish": "vggish", "res152": "resnet152", "r2plus1d_18": "r2plus1d_18"}
"""LLP's names → feature names; anything else is a feature of its own name."""
WIDTHS = {"vggish": 128, "resnet152": 2048, "r2plus1d_18": 512}
"""Widths that are known; any other feature takes the width of its first sound array."""
RATES = {"vggish": (1,), "resnet152": (8, 1), "r2plus1d_18": (1,)}
"""Rows a second that LLP's arrays have, as extracted or averaged; others have those of their first sound array."""
VGGISH = "vggish"
RAW, SIGNED, QUANTISED, DEQUANTISED = "raw", "signed", "quantised", "dequantised"
"""Variants of VGGish: after the last ReLU, with negative values (PCA'd, or before the ReLU) and codes 0..255 are told
apart by their values; AudioSet's release, from codes back to values, is known by its format."""


class Spot(NamedTuple):
    """An array that was not read yet."""

    place: str
    """What a refusal calls it."""
    load: Callable[[], np.ndarray]
    seconds: int = SECONDS
    """How long its name says that the video is."""


def load_array(stream: BinaryIO, place: str) -> Float[np.ndarray, "row width"]:
    """The two-dimensional array of a .npy file, float32; never unpickles. Raises BadVideo naming the place.

    An error of the disk or the network is no fault of the video: it is raised as it is (OSError).
    """
    try:
        array = np.load(stream, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a header is an expression that numpy evaluates, and fails in many ways when damaged
        cause = str(error).partition(". ")[0].rstrip(".")  # numpy goes on to advise loading it as a pickle
        raise BadVideo(
            f"A feature file must be a plain .npy array, but '{place}' is not ({cause}): save it with numpy.save, "
            "without objects in it."
        ) from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiu":
        found = f"shape {array.shape} and type {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise BadVideo(
            f"A feature must be a table of numbers (rows × width), but '{place}' has {found}: extract it again."
        )
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def per_second(
    array: Float[np.ndarray, "row width"],
    feature: Feature,
    place: str,
    seconds: int = SECONDS,
    rates: tuple[int, ...] = (1,),
) -> Float[np.ndarray, "second width"]:
    """An array averaged to one row a second, and zeros after the seconds that the video has.

    ResNet-152 comes as 8 rows a second; HAN's linear layer is applied to each and averaged, so averaging first
    is the same and 8 times smaller. A video shorter than SECONDS has as many rows as one of `rates` gives, for its own
    seconds or for SECONDS. Raises BadVideo for a wrong shape, NaN or infinity, and Refusal for another variant than the
    feature's.
    """
    every = _seconds_of(array, feature.name, feature.width, place, seconds, rates)
    variant = variant_of(array) if feature.variant else None
    if variant and variant != feature.variant:
        raise Refusal(
            f"A corpus must hold one variant of '{feature.name}', but '{place}' is {variant} and others are "
            f"{feature.variant}: extract all of them the same way."
        )
    rows = np.zeros((SECONDS, feature.width), np.float32)
    rows[:seconds] = array.reshape(every, -1, feature.width).mean(axis=1)[:seconds]
    return rows


def describe(called: str, spots: Iterable[Spot], told: str, dtype: str) -> tuple[Feature, tuple[int, ...]]:
    """The feature that arrays called so hold, as the first sound one shows it, and the first that tells its variant.

    With it, the rows a second that arrays of shorter videos may have. `told` is where they come from, in words. Where
    no array is as long as its name says, all videos may be shorter (tables will tell): the first that could be one
    shows it. Raises the first array's BadVideo when none is sound.
    """
    by_name, by_length = tee(spots)
    try:
        return _describe(called, by_name, told, dtype)
    except BadVideo as fault:
        with suppress(BadVideo):
            rate = RATES.get(LLP_NAMES.get(called, called), (1,))[0]
            return _describe(called, (_as_short_as_it_is(spot, rate) for spot in by_length), told, dtype)
        raise fault


def _as_short_as_it_is(spot: Spot, rate: int) -> Spot:
    """An array whose name says nothing of times, as one of as many seconds as its rows are for."""
    with suppress(BadVideo):
        seconds = len(spot.load()) // rate
        return spot._replace(seconds=seconds) if spot.seconds == SECONDS and 0 < seconds < SECONDS else spot
    return spot


def _describe(called: str, spots: Iterable[Spot], told: str, dtype: str) -> tuple[Feature, tuple[int, ...]]:
    name = LLP_NAMES.get(called, called)
    feature: Feature | None = None
    fault: BadVideo | None = None
    rates = RATES.get(name)
    for place, load, seconds in spots:
        try:
            array = load()
            possible = rates or (max(len(array) // seconds, 1),)
            every = _seconds_of(array, name, WIDTHS.get(name) or array.shape[1], place, seconds, possible)
        except BadVideo as error:
            fault = fault or error
            continue
        if feature is None:
            rate = len(array) // every
            source = f"{told}, {rate} row(s) a second"
            feature = Feature(name, array.shape[1], RAW if name == VGGISH else "", source, dtype)
            rates = rates or (rate,)
        variant = variant_of(array) if feature.variant else None
        if variant or not feature.variant:
            return replace(feature, variant=variant or ""), rates or ()
    if feature is None:
        raise fault or Refusal(f"A feature must have arrays, but '{called}' has none.")
    return feature, rates or ()


def variant_of(array: Float[np.ndarray, "row width"]) -> str | None:
    """Which VGGish an array is: `raw`, `signed` or `quantised`; None where its values do not tell (only 0 and 1)."""
    if not array.size or np.isin(array, (0, 1)).all():
        return None
    if array.min() < 0:
        return SIGNED
    return QUANTISED if array.max() <= 255 and np.array_equal(array, np.round(array)) else RAW


def _seconds_of(
    array: Float[np.ndarray, "row width"], name: str, width: int, place: str, seconds: int, rates: tuple[int, ...]
) -> int:
    """How many seconds the rows of a sound array stand for: those of the video, or SECONDS."""
    rows, own = len(array), [seconds * rate for rate in rates]
    padded = rows % SECONDS == 0 if seconds == SECONDS else rows in [SECONDS * rate for rate in rates]
    if array.shape[1] != width or not width or not rows or not (padded or rows in own):
        wanted = "or a multiple of it" if seconds == SECONDS else f"or {own[0]} for the {seconds} s that its key says"
        raise BadVideo(
            f"Feature '{name}' must have {SECONDS} rows, {wanted}, of width {width or 'at least 1'}, "
            f"but '{place}' has shape {array.shape}: extract it again."
        )
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise BadVideo(
            f"Feature values must be finite, but '{place}' holds {array[row, column]} at row {row}, "
            f"column {column}: extract it again."
        )
    return seconds if rows in own else SECONDS
