"""Decoding of pictures by TorchCodec, over the FFmpeg libraries of the machine.

Sound is decoded by PyAV here too: TorchCodec decodes a track of sound from the file's beginning for every clip, and
says nothing of gaps in it. Files are examined by PyAV, so what it refuses is refused. TorchCodec has no limit for the
size of a picture, so what it shall decode is decoded by PyAV first, which has: that takes a third of TorchCodec's time.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchcodec.decoders import VideoDecoder

from shards.extract.clips import Clip
from shards.extract.container import MAX_PIXELS
from shards.extract.decoding import BadClip, Decoded, Picture, Wanted
from shards.extract.decoding.board import Board, black
from shards.extract.decoding.clip import (
    Found,
    Frames,
    absent,
    assemble,
    breaks_off,
    broken_off,
    check_begins,
)
from shards.extract.decoding.grid import INSTANT, grid_of
from shards.extract.decoding.picture import mirrored
from shards.extract.decoding.pyav import end_of, listen
from shards.extract.decoding.tracks import pieces
from shards.extract.media import Media, examine

_SOURCE = re.compile(r"\.\w+:\d+, ")
"""The line of TorchCodec's own code, before what it says."""


@dataclass(frozen=True)
class TorchCodec:
    """Stops at damaged frames, which PyAV goes over, and takes no mirrored pictures: it does not mirror them."""

    max_pixels: int = MAX_PIXELS

    def decode(self, path: Path, clips: Sequence[Clip], wanted: Wanted) -> Iterator[Decoded | BadClip]:
        """See `Decoder`."""
        try:
            media = examine(path, self.max_pixels, wanted.audio_track)
            decoder = _opened(media, self.max_pixels) if media.visual and wanted.pictures else None
        except BadClip as bad:
            yield from [bad] * len(clips)
            return
        for clip in clips:
            try:
                yield self._clip(media, decoder, clip, wanted)
            except BadClip as bad:
                yield bad

    def _clip(self, media: Media, decoder: Any, clip: Clip, wanted: Wanted) -> Decoded:
        check_begins(media, clip)
        if decoder:
            _check_limit(media, clip, self.max_pixels)
        seen, heard = _look(media, decoder, clip, wanted), listen(media, clip, wanted, self.max_pixels)
        if breaks_off(media, clip, seen[1], heard[1]):
            raise broken_off(media, end_of(media, self.max_pixels))
        return assemble(media, clip, wanted, seen, heard)


def _opened(media: Media, max_pixels: int) -> Any:
    assert media.visual
    first = next(pieces(media, media.visual, 0.0, max_pixels), None)
    if first and not first.given:
        raise _beyond(media, first.time)
    if first and first.frame and mirrored(first.frame):
        raise BadClip(
            f"TorchCodec takes no mirrored pictures, but those of '{media.path}' are: take --decoder pyav for it."
        )
    try:
        state = media.path.stat()
        return _scanned(str(media.path.absolute()), media.visual.index, state.st_size, state.st_mtime_ns)
    except (RuntimeError, ValueError, OSError) as error:
        raise _refused(media, error, None) from None


@lru_cache(maxsize=1)
def _scanned(path: str, index: int, *_: int) -> Any:
    """The open file, kept for its next clip as long as its size and time stay: TorchCodec first reads it through."""
    return VideoDecoder(path, stream_index=index, dimension_order="NHWC")


def _check_limit(media: Media, clip: Clip, max_pixels: int) -> None:
    """Raises BadClip where a picture that is decoded for the clip cannot be, or is larger than the limit."""
    assert media.visual
    for piece in pieces(media, media.visual, clip.start, max_pixels):
        if not piece.given:
            raise _beyond(media, piece.time)
        if piece.time >= clip.end:
            return


def _look(media: Media, decoder: Any, clip: Clip, wanted: Wanted) -> tuple[Mapping[Picture, Frames], Found]:
    if decoder is None:
        return black(clip, wanted), absent(clip)
    zero = media.origin + clip.start
    start = decoder.metadata.begin_stream_seconds - zero
    end = decoder.metadata.end_stream_seconds - zero
    length = min(clip.end - clip.start, clip.seconds)
    board, grid = Board(clip, wanted), grid_of(clip.seconds, wanted.frames_per_second)
    if start < length and end > 0:
        cells = [cell for cell, time in enumerate(grid) if start <= time + INSTANT < min(end, length)]
        for second in range(clip.seconds):
            own = [cell for cell in cells if cell // wanted.frames_per_second == second]
            _show(media, decoder, board, own, zero, grid)
        if not cells:
            cell = int(min(max(start, 0) * wanted.frames_per_second, len(grid) - 1))
            _show(media, decoder, board, [cell], zero, np.full(len(grid), max(start, 0)))
        board.show([], start, min(end, length), _nothing)
    return board.frames(length), Found(board.cover, end + clip.start)


def _show(media: Media, decoder: Any, board: Board, cells: list[int], zero: float, times: np.ndarray) -> None:
    """The frames that are shown at the cells' times, each made small once."""
    if not cells:
        return
    try:
        batch = decoder.get_frames_played_at([float(times[cell]) + zero + INSTANT for cell in cells])
    except (RuntimeError, IndexError) as error:
        raise _refused(media, error, zero - media.origin + float(times[cells[0]])) from None
    for _, same in groupby(range(len(cells)), key=lambda number: float(batch.pts_seconds[number])):
        numbers = list(same)
        image = partial(Image.fromarray, batch.data[numbers[0]].numpy())
        board.show([cells[number] for number in numbers], 0, 0, image)


def _nothing() -> Image.Image:
    raise AssertionError("frames were shown before")


def _refused(media: Media, error: Exception, second: float | None) -> BadClip:
    told = _SOURCE.split(str(error).strip().split("\n")[0])[-1]
    return BadClip(
        f"TorchCodec cannot decode '{media.path}'{'' if second is None else f' at second {second:.1f}'} ({told}): take "
        "--decoder pyav for this file.",
        second,
    )


def _beyond(media: Media, second: float) -> BadClip:
    return BadClip(
        f"Pictures for TorchCodec must be whole and within --max_pixels, but that of '{media.path}' at second "
        f"{second:.1f} is not: take --decoder pyav for this file.",
        second,
    )
