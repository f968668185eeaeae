"""What a video file holds, by its headers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import av

from shards.extract.clips import SHORTEST
from shards.extract.container import MAX_PIXELS, opened, packets_of, unreadable
from shards.extract.decoding import BadClip

UNSURE = {
    "aac", "ac3", "adts", "amr", "dts", "eac3", "h264", "hevc", "loas", "m4v", "mp3", "mpegvideo", "vvc",
}  # fmt: skip
"""Formats without an index, whose header may say any length: they are read through instead."""
PRIMING = 0.1
"""Seconds: a track that begins so little before 0 begins with what its encoder put before the sound: it begins at 0."""
LONGEST = 100 * 3600.0
"""Seconds: a header that says more is not believed."""
_LENGTH = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class AudioTrack:
    """A track of sound; times are seconds of the file, `end` None where the header does not say."""

    index: int
    start: float
    end: float | None
    rate: int
    channels: int


@dataclass(frozen=True)
class VisualTrack:
    """A track of moving pictures, likewise; the size is that of the stored picture, before it is turned upright."""

    index: int
    start: float
    end: float | None
    width: int
    height: int
    pixel: float = 1.0
    """Width of a stored pixel as it is to be shown, in heights of it; networks take pixels as they are stored."""


@dataclass(frozen=True)
class Media:
    """A file that can be cut into clips."""

    path: Path
    seconds: float
    """Length, from where its first track begins to where its last one ends."""
    origin: float
    """The timestamp, in seconds, of the file's second 0."""
    audio: tuple[AudioTrack, ...]
    listened: AudioTrack | None
    """The one of them that is decoded; None: the file has no sound."""
    visual: VisualTrack | None
    notes: tuple[str, ...] = ()


def examine(path: Path, max_pixels: int = MAX_PIXELS, audio_track: int | None = None) -> Media:
    """What the file's headers say, for `audio_track` see `Wanted`; raises BadClip for a file with no use at all.

    Remembered for the next clips of the file while its size and its time stay.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise unreadable(path, error) from None
    return _examined(path, max_pixels, audio_track, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4)
def _examined(path: Path, max_pixels: int, audio_track: int | None, *_: int) -> Media:
    with opened(path, max_pixels) as container:
        pictures = [stream for stream in container.streams.video if not stream.disposition & _still()]
        sounds = list(container.streams.audio)
        picture, sound = _best(container, "video", pictures), _listened(path, container, sounds, audio_track)
        _check(path, container, picture, sound, max_pixels)
        if picture and not sound:
            _check_moves(path, picture, max_pixels)
        chosen = [stream for stream in (picture, sound) if stream]
        origin = min(_start(stream) for stream in chosen)
        seconds = round(_length(container, chosen, origin), 6)
        if not SHORTEST <= seconds <= LONGEST:
            raise BadClip(
                f"A video must have a length of at most {LONGEST / 3600:.0f} hours, but '{path}' says {seconds:.1f} s: "
                "leave it out or convert it."
            )
        audio = tuple(AudioTrack(*_span(each, origin), *_form(each)) for each in sounds)
        return Media(
            path,
            seconds,
            origin,
            audio,
            next((track for track in audio if sound and track.index == sound.index), None),
            _visual(picture, origin) if picture else None,
            _notes(container, picture, sound),
        )


def length_by_reading(container: Any, streams: Sequence[Any], origin: float) -> float:
    """The second at which the last packet of these tracks ends; reads the file through, without decoding."""
    counted = dict.fromkeys((stream.index for stream in streams), 0.0)
    last = 0.0
    for packet in packets_of(container, streams):
        if packet.size:
            step = float((packet.duration or 0) * packet.time_base) or _step(packet.stream)
            time = packet.dts if packet.pts is None else packet.pts
            begin = counted[packet.stream_index] if time is None else float(time * packet.time_base) - origin
            counted[packet.stream_index] = begin + step
            last = max(last, begin + step)
    return last


def _still() -> Any:
    each = av.stream.Disposition
    return each.attached_pic | each.still_image | each.timed_thumbnails


def _best(container: Any, kind: str, streams: Sequence[Any]) -> Any:
    """The one that FFmpeg takes for the main one; None where there is none."""
    best = container.streams.best(kind)
    return next((stream for stream in streams if best and stream.index == best.index), streams[0] if streams else None)


def _listened(path: Path, container: Any, sounds: Sequence[Any], audio_track: int | None) -> Any:
    if audio_track is None or not sounds:
        return _best(container, "audio", sounds)
    if audio_track >= len(sounds):
        raise BadClip(
            f"The audio track {audio_track} is asked for, but '{path}' has {len(sounds)}, counted from 0: name "
            "another, or none for the main one."
        )
    return sounds[audio_track]


def _check(path: Path, container: Any, picture: Any, sound: Any, max_pixels: int) -> None:
    name = container.format.name
    if name.endswith("_pipe") or (name in ("gif", "apng") and picture and picture.frames == 1):
        raise BadClip(f"A video must move, but '{path}' is a still picture: leave it out.")
    if not picture and not sound:
        raise BadClip(f"A video must have pictures or sound, but '{path}' has no track of either: leave it out.")
    for stream in (each for each in (picture, sound) if each and each.codec_context is None):
        what = "pictures" if stream is picture else "sound"
        raise BadClip(
            f"FFmpeg must know the codec of a track, but that of the {what} of '{path}' is none that this FFmpeg "
            f"({av.ffmpeg_version_info}) decodes: convert the file."
        )
    if picture and not (picture.width and picture.height):
        raise BadClip(
            f"A video's pictures must have a size, but none can be read from '{path}', or they are larger than "
            f"--max_pixels {max_pixels}: fetch it again, or raise that."
        )
    if picture and picture.width * picture.height > max_pixels:
        raise BadClip(
            f"A picture may have {max_pixels:,} pixels, but those of '{path}' have {picture.width} × {picture.height}: "
            "make them smaller, or raise --max_pixels."
        )


def _check_moves(path: Path, picture: Any, max_pixels: int) -> None:
    """Raises BadClip for a track that is one picture, in a file without sound; read anew, for not all can go back."""
    if picture.frames > 1:
        return
    with opened(path, max_pixels) as container:
        packets = packets_of(container, [container.streams[picture.index]])
        if sum(1 for _ in islice((packet for packet in packets if packet.size), 2)) < 2:
            raise BadClip(f"A video must move or sound, but '{path}' holds one picture and no sound: leave it out.")


def _start(stream: Any) -> float:
    start = float((stream.start_time or 0) * stream.time_base)
    return 0.0 if -PRIMING < start < 0 else start


def _span(stream: Any, origin: float) -> tuple[int, float, float | None]:
    start = _start(stream)
    end = start + float(stream.duration * stream.time_base) if stream.duration else _tagged(stream, start)
    return stream.index, start - origin, None if end is None else end - origin


def _tagged(stream: Any, start: float) -> float | None:
    """The end of a track by its tag, as Matroska has it; a tag may be older than the file, which is never shorter."""
    match, whole = _LENGTH.match(stream.metadata.get("DURATION", "")), stream.container.duration
    if not match or not whole or start > PRIMING:
        return None
    return min(int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]), whole / av.time_base)


def _form(stream: Any) -> tuple[int, int]:
    """Rate and channels; zeros where FFmpeg does not know the codec."""
    codec = stream.codec_context
    return (codec.sample_rate or 0, codec.layout.nb_channels) if codec else (0, 0)


def _visual(stream: Any, origin: float) -> VisualTrack:
    pixel = float(stream.sample_aspect_ratio or 1)
    return VisualTrack(*_span(stream, origin), stream.width, stream.height, pixel if 0.1 < pixel < 10 else 1.0)


def _length(container: Any, chosen: Sequence[Any], origin: float) -> float:
    """By the tracks' own headers where all of them say, else by the file's, else by reading it through.

    A file's length is counted from its start by some formats and from 0 by others: it helps where the two are the same.
    """
    if set(container.format.name.split(",")).isdisjoint(UNSURE):
        ends = [_span(stream, origin)[2] for stream in chosen]
        told = max(end or 0.0 for end in ends)
        if None in ends:
            told = container.duration / av.time_base if container.duration and abs(origin) < PRIMING else 0.0
        if 0 < told <= LONGEST:
            return told
    return length_by_reading(container, chosen, origin)


def _step(stream: Any) -> float:
    """Seconds of a packet that does not say its own."""
    rate = getattr(stream, "guessed_rate", None) if stream.type == "video" else None
    return 1 / float(rate) if rate else 0.0


def _notes(container: Any, picture: Any, sound: Any) -> tuple[str, ...]:
    covers = "; its cover is a still picture" if container.streams.video else ""
    nothing_seen = () if picture else (f"It has no moving pictures{covers}: nothing is seen.",)
    return nothing_seen + (() if sound else ("It has no sound: nothing is heard.",))
