"""What PyAV makes of a file, for the tests: clips, or the refusal of one; how bright and how loud they are."""

from pathlib import Path

import numpy as np

from shards.extract.clips import Clip, cut
from shards.extract.decoding import BadClip, Decoded, Picture, Wanted
from shards.extract.decoding.pyav import PyAV
from shards.extract.media import examine
from tests.shards.extract.material import BRIGHT, DARK

SMALL = Picture(16)
WANTED = Wanted((SMALL,), (16000,))


def decoded(path: Path, *clips: Clip, wanted: Wanted = WANTED) -> list[Decoded]:
    chosen = clips or cut(path.stem, examine(path).seconds).clips
    results = list(PyAV().decode(path, chosen, wanted))
    for result in results:
        assert isinstance(result, Decoded), result
    return results  # type: ignore[return-value]


def one(path: Path, *clips: Clip, wanted: Wanted = WANTED) -> Decoded:
    (result,) = decoded(path, *clips, wanted=wanted)
    return result


def refusal(path: Path, clip: Clip, wanted: Wanted = WANTED, max_pixels: int = 1 << 26) -> BadClip:
    (result,) = PyAV(max_pixels).decode(path, [clip], wanted)
    assert isinstance(result, BadClip), result
    assert str(result).endswith((".", "it."))
    return result


def levels(clip: Decoded, picture: Picture = SMALL) -> np.ndarray:
    """How bright each frame is."""
    return clip.frames[picture].mean(axis=(1, 2, 3))


def loud(clip: Decoded, rate: int = 16000) -> tuple[float, float]:
    """The seconds at which the tone begins and ends."""
    place = np.flatnonzero(np.abs(clip.sound[rate]) > 0.1) / rate
    return float(place[0]), float(place[-1])


def bright(clip: Decoded) -> tuple[float, float]:
    """The seconds between which it is bright: the middle of the first bright frame, and that of the last."""
    place = np.flatnonzero(levels(clip) > (BRIGHT + DARK) / 2)
    return (place[0] + 0.5) / 8, (place[-1] + 0.5) / 8
