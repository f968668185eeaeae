"""Pictures as networks want them: upright, RGB, resized by Pillow as torchvision's transforms do it."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from shards.extract.decoding import Picture

FILTER = Image.Resampling.BILINEAR
STRIP = 8
"""Of a picture so many times longer than wide the middle alone is resized, for the whole would become very large; that
differs by rounding."""
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
    """Resized whole, or resized by its shorter side and cut to the middle."""
    if wanted.shorter is None:
        return np.asarray(image.resize((wanted.size, wanted.size), FILTER))
    least, longest = min(image.size), int(wanted.shorter * max(image.size) / min(image.size))
    wide, high = (wanted.shorter if side == least else longest for side in image.size)
    left, top = round((wide - wanted.size) / 2), round((high - wanted.size) / 2)
    middle = (left, top, left + wanted.size, top + wanted.size)
    if longest > STRIP * wanted.shorter:
        scales = image.width / wide, image.height / high
        box = tuple(edge * scale for edge, scale in zip(middle, (*scales, *scales), strict=True))
        return np.asarray(image.resize((wanted.size, wanted.size), FILTER, box=box))
    return np.asarray(image.resize((wide, high), FILTER).crop(middle))
