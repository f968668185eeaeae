"""Decoding by PyAV, whose wheels bring FFmpeg along."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float

from shards.extract.clips import Clip
from shards.extract.container import MAX_PIXELS, opened
from shards.extract.decoding import BadClip, Decoded, Picture, Wanted
from shards.extract.decoding.board import Board, black
from shards.extract.decoding.clip import (
    Found,
    Frames,
    Samples,
    absent,
    assemble,
    breaks_off,
    broken_off,
    check_begins,
)
from shards.extract.decoding.grid import grid_of, shown
from shards.extract.decoding.picture import upright
from shards.extract.decoding.sound import FASTEST, MARGIN, Mixer, Sound
from shards.extract.decoding.tracks import Piece, pieces
from shards.extract.media import Media, examine, length_by_reading


@dataclass(frozen=True)
class PyAV:
    """Opens a file anew for each clip and track, so that a clip depends on nothing that was decoded before."""

    max_pixels: int = MAX_PIXELS

    def decode(self, path: Path, clips: Sequence[Clip], wanted: Wanted) -> Iterator[Decoded | BadClip]:
        """See `Decoder`."""
        try:
            media = examine(path, self.max_pixels, wanted.audio_track)
        except BadClip as bad:
            yield from [bad] * len(clips)
            return
        for clip in clips:
            try:
                yield self._clip(media, clip, wanted)
            except BadClip as bad:
                yield bad

    def _clip(self, media: Media, clip: Clip, wanted: Wanted) -> Decoded:
        check_begins(media, clip)
        seen, heard = look(media, clip, wanted, self.max_pixels), listen(media, clip, wanted, self.max_pixels)
        if breaks_off(media, clip, seen[1], heard[1]):
            raise broken_off(media, end_of(media, self.max_pixels))
        return assemble(media, clip, wanted, seen, heard)


def look(media: Media, clip: Clip, wanted: Wanted, max_pixels: int) -> tuple[Mapping[Picture, Frames], Found]:
    """The clip's frames for every network; black where nothing is shown."""
    if media.visual is None or not wanted.pictures:
        return black(clip, wanted), absent(clip)
    watch = _Watch(clip, clip.end)
    grid = grid_of(clip.seconds, wanted.frames_per_second)
    length = min(clip.end - clip.start, clip.seconds)
    board = Board(clip, wanted)
    whole = (
        (piece.time - clip.start, piece.duration, piece.frame)
        for piece in watch.over(pieces(media, media.visual, clip.start, max_pixels))
    )
    for cells, start, end, frame in shown(whole, grid, length):
        board.show(cells, start, end, partial(upright, frame))
    return board.frames(length), Found(board.cover, watch.reached, tuple(watch.damaged))


def listen(media: Media, clip: Clip, wanted: Wanted, max_pixels: int) -> tuple[Mapping[int, Samples], Found]:
    """The clip's sound at every rate; silence where there is none."""
    silence = {rate: np.zeros(clip.seconds * rate, np.float32) for rate in wanted.rates}
    if media.listened is None or not wanted.rates:
        return silence, absent(clip)
    watch = _Watch(clip, clip.start + clip.seconds + MARGIN)
    found = watch.over(pieces(media, media.listened, clip.start - MARGIN, max_pixels))
    try:
        samples, cover = _placed(clip, wanted, found) or (silence, np.zeros(clip.seconds))
    except av.error.FFmpegError as error:
        raise BadClip(
            f"FFmpeg must be able to mix and resample the sound, but not that of '{media.path}' ({media.listened.rate} "
            f"Hz, {media.listened.channels} channels: {error.strerror}): convert the file.",
            clip.start,
        ) from None
    return samples, Found(cover, watch.reached, tuple(watch.damaged))


def _placed(
    clip: Clip, wanted: Wanted, found: Iterable[Piece]
) -> tuple[Mapping[int, Samples], Float[np.ndarray, " second"]] | None:
    """What `Sound.samples` gives; None where there is no whole piece of sound."""
    sound = mixer = None
    for piece in found:
        if piece.frame is None:
            continue
        if sound is None or mixer is None:
            rate = min(piece.frame.sample_rate, FASTEST)
            sound, mixer = Sound(rate, clip.start, clip.seconds, float(piece.frame.time_base or 0)), Mixer(rate)
        sound.place(mixer.mono(piece.frame), piece.time)
    return None if sound is None else sound.samples(wanted.rates)


@lru_cache(maxsize=1)
def end_of(media: Media, max_pixels: int) -> float:
    """The second at which the file really ends; remembered for its next clip."""
    indices = [track.index for track in (media.visual, media.listened) if track]
    with opened(media.path, max_pixels) as container:
        return length_by_reading(container, [container.streams[index] for index in indices], media.origin)


class _Watch:
    """Reads a track until the clip is complete, and remembers what was damaged and how far it went."""

    def __init__(self, clip: Clip, until: float) -> None:
        self._clip, self._until = clip, until
        self.reached = 0.0
        self.damaged: list[float] = []

    def over(self, found: Iterable[Piece]) -> Iterator[Piece]:
        """The first piece that begins after the clip is the last one, for it tells how long its predecessor lasts."""
        for piece in found:
            self.reached = max(self.reached, piece.time + piece.duration)
            if piece.frame is None and self._clip.start <= piece.time < self._clip.end:
                self.damaged.append(piece.time)
            yield piece
            if piece.time >= self._until:
                return
