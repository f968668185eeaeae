"""The frames of a whole file in a row, for a preview of it that is made in one pass and in little memory."""

from collections.abc import Iterator

from PIL import Image

from shards.extract.container import MAX_PIXELS
from shards.extract.decoding.grid import grid_of, shown
from shards.extract.decoding.picture import turned, upright
from shards.extract.decoding.tracks import pieces
from shards.extract.media import Media


def frames_in_row(media: Media, frames_per_second: int, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image | None]:
    """One picture for each of the grid's times until the file ends, upright and with square pixels; None: no picture.

    A picture that is shown at several times is the same object each time.
    """
    grid = grid_of(int(media.seconds) + 1, frames_per_second)
    grid = grid[grid < media.seconds]
    given = 0
    if media.visual:
        found = ((piece.time, piece.duration, piece.frame) for piece in pieces(media, media.visual, 0.0, max_pixels))
        for cells, _, _, frame in shown(found, grid, media.seconds):
            if cells:
                yield from [None] * (cells[0] - given)
                yield from [_square(upright(frame), media.visual.pixel, turned(frame))] * len(cells)
                given = cells[-1] + 1
    yield from [None] * (len(grid) - given)


def _square(image: Image.Image, pixel: float, on_its_side: bool) -> Image.Image:
    if pixel == 1:
        return image
    wide, high = image.size
    return image.resize((wide, round(high * pixel)) if on_its_side else (round(wide * pixel), high))
