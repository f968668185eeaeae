"""A small copy of a video file that every browser plays: H.264 and AAC in MP4, at most 480 lines."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from shards.extract.clips import cut
from shards.extract.container import MAX_PIXELS
from shards.extract.decoding import BadClip, Decoded, Decoder, Wanted
from shards.extract.decoding.whole import frames_in_row
from shards.extract.filming.encode import Codecs, write_video
from shards.extract.media import Media

WIDEST, HIGHEST = 854, 480
"""Pixels of a picture at most; a smaller one keeps its size."""
FRAMES_PER_SECOND = 20
RATE = 32000
"""Sampling rate of the sound, in Hz."""
CODECS = Codecs(options=(("crf", "29"), ("preset", "veryfast")))


def write_preview(media: Media, decoder: Decoder, out: Path, max_pixels: int = MAX_PIXELS) -> None:
    """Writes the copy of an examined file; its memory grows with the file's seconds (128 kB each, for the sound).

    Time runs as in the file: what begins late does so in the copy, behind silence or black, and what is damaged is
    silent or black. Raises BadClip where nothing of the file can be decoded.
    """
    sound = _sound(media, decoder) if media.listened else None
    frames = _frames(media, max_pixels) if media.visual else None
    write_video(out, frames, FRAMES_PER_SECOND, sound, RATE, CODECS)


def size_of(image: Image.Image) -> tuple[int, int]:
    """Width and height of the copy of a picture: even, as the codec wants them, and in the same shape."""
    scale = min(1.0, WIDEST / image.width, HIGHEST / image.height)
    width, height = (max(2, 2 * round(scale * side / 2)) for side in image.size)
    return width, height


def _frames(media: Media, max_pixels: int) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The pictures, all of the size of the first; black before it, and where there is none."""
    size, before, after = None, None, np.zeros((2, 2, 3), np.uint8)
    waiting = 0
    for image in frames_in_row(media, FRAMES_PER_SECOND, max_pixels):
        if image is None and size is None:
            waiting += 1
            continue
        if image is not None and image is not before:
            size = size or size_of(image)
            after = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
        black = np.zeros_like(after)
        yield from [black] * waiting
        yield black if image is None else after
        before, waiting = image, 0


def _sound(media: Media, decoder: Decoder) -> Float[np.ndarray, " sample"]:
    """All of it, clip by clip; silence where a clip is bad. Raises BadClip where all are."""
    sound = np.zeros(round(media.seconds * RATE), np.float32)
    clips = cut(media.path.stem, media.seconds).clips
    faults = list[BadClip]()
    for clip, found in zip(clips, decoder.decode(media.path, clips, Wanted((), (RATE,))), strict=True):
        if isinstance(found, Decoded):
            first = round(clip.start * RATE)
            part = found.sound[RATE][: len(sound) - first]
            sound[first : first + len(part)] = part
        else:
            faults.append(found)
    if len(faults) == len(clips) and not media.visual:
        raise faults[0]
    return sound
