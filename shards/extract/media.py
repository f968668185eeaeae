"""What a video file holds, by its headers, and the one place where such a file is opened: safely, as a file alone."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from shards.extract.clips import SHORTEST
from shards.extract.decoding import BadClip

MAX_PIXELS = 1 << 26
"""Pixels of a picture at most, unless the settings say otherwise: twice a picture of 8K."""
POINTING = {
    "alias_pix", "alsa", "avisynth", "concat", "dash", "fbdev", "ffmetadata", "hls", "image2", "image2pipe", "imf",
    "jack", "kmsgrab", "lavfi", "mpjpeg", "oss", "rtp", "rtsp", "sap", "sdp", "v4l2", "vapoursynth", "video4linux2",
    "vobsub", "webm_dash_manifest", "x11grab",
}  # fmt: skip
"""Formats that are not what they hold: they name other files or addresses, or are devices."""
TEXT = {"adf", "bin", "idf", "tty", "xbin"}
"""Formats by which FFmpeg makes pictures out of any text."""
UNSURE = {
    "aac", "ac3", "adts", "amr", "dts", "eac3", "h264", "hevc", "loas", "m4v", "mp3", "mpegvideo", "vvc",
}  # fmt: skip
"""Formats without an index, whose header may say any length: they are read through instead."""
PRIMING = 0.1
"""Seconds: a track that begins so little before 0 begins with what its encoder put before the sound: it begins at 0."""
LONGEST = 100 * 3600.0
"""Seconds: a header that says more is not believed."""
_LENGTH = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
_LISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"RTSPtext", b"v=0\n", b"v=0\r")


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
    """What the file's headers say, for `audio_track` see `Wanted`; raises BadClip for a file with no use at all."""
    with opened(path, max_pixels) as container:
        pictures = [stream for stream in container.streams.video if not stream.disposition & _still()]
        sounds = list(container.streams.audio)
        picture, sound = _best(container, "video", pictures), _listened(path, container, sounds, audio_track)
        _check(path, container, picture, sound, max_pixels)
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


def opened(path: Path, max_pixels: int = MAX_PIXELS) -> Any:
    """The open file (an `av` container), to be used by `with`; raises BadClip where it cannot be opened.

    FFmpeg gets the file's full path behind `file:`, so that no name is an address or an option, may open nothing else,
    and takes no format that names other files.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": _formats(), "max_pixels": str(max_pixels)}
    if path.exists() and not path.is_file():
        raise BadClip(f"'{path}' must be a file, but is something else: leave it out.")
    try:
        with path.open("rb") as file:
            head = file.read(1000)
    except OSError as error:
        raise BadClip(f"'{path}' must be readable, but is not ({error.strerror}): see to it.") from None
    if not head:
        raise BadClip(f"A video must hold something, but '{path}' is empty: leave it out or fetch it again.")
    try:
        return av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise _not_a_video(path, head, error) from None


def packets_of(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """The packets of these tracks, as far as the file can be read."""
    try:
        yield from container.demux(*streams)
    except (av.error.FFmpegError, IndexError):  # PyAV trips over tracks that turn up in the middle of a damaged file
        return


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


def _formats() -> str:
    return ",".join(sorted(set(av.formats_available) - POINTING - TEXT))


def _not_a_video(path: Path, head: bytes, error: Exception) -> BadClip:
    if head.startswith(_LISTS) or b"<MPD" in head or getattr(error, "errno", None) == 22:
        return BadClip(
            f"A video must hold its pictures and its sound itself, but '{path}' is text, or a list of other files or "
            "addresses: give the files that it names."
        )
    told = getattr(error, "strerror", None) or str(error)
    return BadClip(
        f"'{path}' must be a video, but FFmpeg finds none in it ({told}): it is something else, or was cut off before "
        "its index; fetch it again or leave it out."
    )


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
        raise BadClip(f"A video's pictures must have a size, but none can be read from '{path}': fetch it again.")
    if picture and picture.width * picture.height > max_pixels:
        raise BadClip(
            f"A picture may have {max_pixels:,} pixels, but those of '{path}' have {picture.width} × {picture.height}: "
            "make them smaller, or raise --max_pixels."
        )


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
