"""Where the frames of one clip are collected, resized as they come."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from shards.extract.clips import Clip
from shards.extract.decoding import Picture, Wanted
from shards.extract.decoding.clip import Frames
from shards.extract.decoding.grid import covered, sources, there
from shards.extract.decoding.picture import resized


class Board:
    """Where the frames of a clip are collected, resized as they come."""

    def __init__(self, clip: Clip, wanted: Wanted) -> None:
        self.cover = np.zeros(clip.seconds)
        self._frames_per_second = wanted.frames_per_second
        self._frames = black(clip, wanted)
        self._served = np.zeros(clip.seconds * wanted.frames_per_second, bool)

    def show(self, cells: list[int], start: float, end: float, image: Callable[[], Image.Image]) -> None:
        """A frame that is seen from start to end, in seconds of the clip, and in these cells; upright."""
        if not cells and not self._served.any():
            cells = [min(max(0, int(start * self._frames_per_second)), len(self._served) - 1)]
        self.cover = np.minimum(self.cover + covered(start, end, len(self.cover)), 1)
        if cells:
            picture = image()
            for wanted, frames in self._frames.items():
                frames[cells] = resized(picture, wanted)
            self._served[cells] = True

    def frames(self, length: float) -> dict[Picture, Frames]:
        """All of them, in a clip of that length."""
        chosen = sources(self._served, there(self.cover, length), self._frames_per_second)
        for frames in self._frames.values():
            frames[:] = frames[chosen]
            frames[chosen < 0] = 0
        return self._frames


def black(clip: Clip, wanted: Wanted) -> dict[Picture, Frames]:
    """The frames of a clip that shows nothing."""
    count = clip.seconds * wanted.frames_per_second
    return {each: np.zeros((count, each.size, each.size, 3), np.uint8) for each in wanted.pictures}
