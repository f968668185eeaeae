"""Pictures as networks want them: upright, RGB, resized by Pillow as torchvision's transforms do it."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from shards.extract.decoding import Picture

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
MATRIX = "DISPLAYMATRIX"
_TURNS: dict[tuple[tuple[int, ...], ...], Image.Transpose | None] = {
    ((1, 0), (0, 1)): None,
    ((-1, 0), (0, 1)): Image.Transpose.FLIP_LEFT_RIGHT,
    ((1, 0), (0, -1)): Image.Transpose.FLIP_TOP_BOTTOM,
    ((-1, 0), (0, -1)): Image.Transpose.ROTATE_180,
    ((0, 1), (-1, 0)): Image.Transpose.ROTATE_270,
    ((0, -1), (1, 0)): Image.Transpose.ROTATE_90,
    ((0, 1), (1, 0)): Image.Transpose.TRANSPOSE,
    ((0, -1), (-1, 0)): Image.Transpose.TRANSVERSE,
}
"""How a stored picture is turned, by the signs of its display matrix: the rows of the stored axes x and y."""


def turn_of(frame: Any) -> Image.Transpose | None:
    """How FFmpeg's frame must be turned or mirrored to be upright; None: not at all, or not by a right angle."""
    data = next((each for each in frame.side_data if each.type.name == MATRIX), None)
    if data is None:
        return None
    matrix = np.frombuffer(bytes(data), "<i4").reshape(3, 3)[:2, :2] / 65536
    return _TURNS.get(tuple(tuple(int(number) for number in row) for row in np.rint(matrix)))


def mirrored(frame: Any) -> bool:
    """Whether making it upright takes more than a turn."""
    turn = Image.Transpose
    return turn_of(frame) in (turn.FLIP_LEFT_RIGHT, turn.FLIP_TOP_BOTTOM, turn.TRANSPOSE, turn.TRANSVERSE)


def turned(frame: Any) -> bool:
    """Whether making it upright swaps its width and its height."""
    turn = Image.Transpose
    return turn_of(frame) in (turn.ROTATE_90, turn.ROTATE_270, turn.TRANSPOSE, turn.TRANSVERSE)


def upright(frame: Any) -> Image.Image:
    """FFmpeg's frame, of any size and pixel format, as an RGB picture."""
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    turn = turn_of(frame)
    return image if turn is None else image.transpose(turn)


def resized(image: Image.Image, wanted: Picture) -> UInt8[np.ndarray, "height width 3"]:
    """Resized whole, or resized by its shorter side and cut to the middle.

    The middle is not cut out of a resized picture but resized alone, which gives the same pixels: a strip of a picture
    would else become very large.
    """
    size, box = (wanted.size, wanted.size), None
    if wanted.shorter is not None:
        box = _middle(image.size, wanted.shorter, wanted.size)
    return np.asarray(image.resize(size, FILTERS[wanted.resample], box=box))


def _middle(size: tuple[int, int], shorter: int, cut: int) -> tuple[float, float, float, float]:
    """What of a picture of that size is cut out of it once its shorter side is `shorter`: left, top, right, bottom."""
    least = min(size)
    edges = []
    for side in size:
        becomes = shorter if side == least else int(shorter * side / least)
        first = round((becomes - cut) / 2)
        edges.append((first * side / becomes, (first + cut) * side / becomes))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom
