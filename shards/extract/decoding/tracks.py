"""What FFmpeg decodes of one track of a file, from a given second on."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import av

from shards.extract.container import opened, packets_of
from shards.extract.media import AudioTrack, Media, VisualTrack

STEPS_BACK = (0.0, 5.0, 30.0)
"""Seconds: how much earlier a file is asked for, in turn, where it answered with something later than wanted."""
USUAL = 0.04
"""Seconds a picture is shown where nothing says how long."""
TOO_MANY = 1000
"""Damaged packets in a row, after which the rest of a file is not tried."""


@dataclass(frozen=True)
class Piece:
    """A frame of a track, or a place where there should be one and is none that can be used."""

    time: float
    """Second of the file at which it begins."""
    duration: float
    """Seconds that it lasts."""
    frame: Any
    """FFmpeg's frame; None where it is damaged."""
    given: bool = True
    """Whether FFmpeg gave any frame; it gives none of a picture that is larger than the limit."""


def pieces(media: Media, track: AudioTrack | VisualTrack, second: float, max_pixels: int) -> Iterator[Piece]:
    """What there is of the track in order of time, beginning at or before the second, whatever was read before.

    A file that cannot be sought in is decoded from its beginning.
    """
    if second > track.start:
        for earlier in (second - back for back in STEPS_BACK if second - back > track.start):
            with closing(_decoded(media, track, earlier, max_pixels)) as found:
                first = next(found, None)
                if first and first.time <= second:
                    yield first
                    yield from found
                    return
    yield from _decoded(media, track, None, max_pixels)


def _decoded(media: Media, track: AudioTrack | VisualTrack, second: float | None, max_pixels: int) -> Generator[Piece]:
    """Nothing at all where the file cannot be sought in, or does not say the time of what it gives then."""
    with opened(media.path, max_pixels) as container:
        stream = container.streams[track.index]
        _prepare(container, stream, max_pixels)
        if second is not None:
            try:
                container.seek(int((second + media.origin) / stream.time_base), stream=stream)
            except av.error.FFmpegError:
                return
        clock, damaged = track.start if second is None else None, 0
        for packet in packets_of(container, [stream]):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                damaged += 1
                if damaged > TOO_MANY:
                    return
                if (lost := _lost(packet, media.origin, clock)) is not None:
                    clock = lost.time + lost.duration
                    yield lost
                continue
            for frame in frames:
                damaged = 0
                piece = _piece(frame, stream, media.origin, clock)
                if piece is None:
                    return
                clock = piece.time + piece.duration
                yield piece


def _prepare(container: Any, stream: Any, max_pixels: int) -> None:
    """One thread, since files are decoded in parallel, and no other track."""
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(max_pixels)}
    for other in container.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all


def _piece(frame: Any, stream: Any, origin: float, clock: float | None) -> Piece | None:
    """The frame with its time, or None where neither it nor what came before tells it."""
    time = clock if frame.pts is None else float(frame.pts * frame.time_base) - origin
    if time is None:
        return None
    if stream.type == "audio":
        duration = frame.samples / frame.sample_rate
    else:
        rate = stream.guessed_rate
        duration = float(frame.duration * frame.time_base) or (1 / float(rate) if rate else USUAL)
    return Piece(time, duration, None if frame.is_corrupt else frame)


def _lost(packet: Any, origin: float, clock: float | None) -> Piece | None:
    stamp = packet.dts if packet.pts is None else packet.pts
    time = clock if stamp is None or not packet.time_base else float(stamp * packet.time_base) - origin
    return None if time is None else Piece(time, float((packet.duration or 0) * packet.time_base), None, given=False)
