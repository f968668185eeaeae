"""Writing a video file that every browser and every FFmpeg plays: H.264 and AAC in MP4, or what the name asks for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Float, UInt8

CHUNK = 1024
"""Samples handed to the audio encoder at a time."""


@dataclass(frozen=True)
class Codecs:
    """Encoders by FFmpeg's names, and how the pictures are compressed."""

    visual: str = "libx264"
    audio: str = "aac"
    options: tuple[tuple[str, str], ...] = (("crf", "23"), ("preset", "veryfast"))


def write_video(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "height width 3"]] | None,
    frames_per_second: Fraction | int = 25,
    sound: Float[np.ndarray, " sample"] | None = None,
    rate: int = 48000,
    codecs: Codecs | None = None,
) -> None:
    """Writes RGB frames (of even height and width) and mono sound in [-1, 1]; either may be absent."""
    codecs = codecs or Codecs()
    with av.open(str(path.absolute()), "w") as container:
        chunks, heard = _chunks(sound), 0
        audio = None if sound is None else container.add_stream(codecs.audio, rate=rate, layout="mono")
        visual = None
        for number, frame in enumerate(() if frames is None else frames):
            if visual is None:
                visual = container.add_stream(codecs.visual, rate=frames_per_second, options=dict(codecs.options))
                visual.height, visual.width = frame.shape[:2]
                visual.pix_fmt = "yuv420p"
            container.mux(visual.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            heard = _sound_until(container, audio, chunks, heard, int((number + 1) / frames_per_second * rate), rate)
        _sound_until(container, audio, chunks, heard, 0 if sound is None else len(sound), rate)
        for stream in (visual, audio):
            if stream is not None:
                container.mux(stream.encode(None))


def _sound_until(
    container: Any, audio: Any, chunks: Iterator[Float[np.ndarray, " sample"]], heard: int, wanted: int, rate: int
) -> int:
    """Encodes chunks until so many samples are heard, so that sound lies beside its pictures; how many are."""
    while heard < wanted and (chunk := next(chunks, None)) is not None:
        container.mux(audio.encode(_sounding(chunk, heard, rate)))
        heard += len(chunk)
    return heard


def _chunks(sound: Float[np.ndarray, " sample"] | None) -> Iterator[Float[np.ndarray, " sample"]]:
    return iter(()) if sound is None else (sound[first : first + CHUNK] for first in range(0, len(sound), CHUNK))


def _sounding(chunk: Float[np.ndarray, " sample"], start: int, rate: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk[None], np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
    return frame
