"""What a decoder is asked for, and what it hands over: the frames and the sound of one clip, on a regular grid of time.

Time is the file's own: 0 is where its first track begins, whatever its timestamps start at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, UInt8

from launch.refusal import Refusal
from shards.extract.clips import Clip

FRAMES_PER_SECOND = 8
"""LLP's features look at eight frames a second."""


@dataclass(frozen=True)
class Picture:
    """How a network wants its frames: RGB of this size, resized by Pillow's bilinear filter."""

    size: int
    """Height and width in pixels."""
    shorter: int | None = None
    """The shorter side is resized to this and the middle cut out; None: both sides are resized, whatever the shape."""


@dataclass(frozen=True)
class Wanted:
    """What the networks of a recipe need of every clip; each is decoded once."""

    pictures: tuple[Picture, ...]
    rates: tuple[int, ...]
    """Sampling rates of the sound, in Hz."""
    frames_per_second: int = FRAMES_PER_SECOND
    audio_track: int | None = None
    """Which of the file's audio tracks, counted from 0; None: the one that FFmpeg takes for the main one."""


@dataclass(frozen=True)
class Decoded:
    """One clip. Whole seconds of `clip.seconds`: what is not there is black, or silence."""

    clip: Clip
    frames: Mapping[Picture, UInt8[np.ndarray, "frame height width 3"]]
    """`seconds × frames_per_second` frames; frame i is what is shown at (i + ½) / frames_per_second."""
    sound: Mapping[int, Float[np.ndarray, " sample"]]
    """Rate → `seconds × rate` samples, mono, in [-1, 1]."""
    present: Bool[np.ndarray, "modality second"]
    """Where there is audio and where there is a picture at all: a second without any sample, or frame, is False."""
    notes: tuple[str, ...] = field(default=())
    """What a user should know of it, a sentence each, such as frames that were damaged."""


class BadClip(Refusal):
    """One clip, or one file, cannot be used, and others can."""

    def __init__(self, sentence: str, second: float | None = None) -> None:
        super().__init__(sentence)
        self.second = second
        """Where in the file, in seconds; None where it is the whole file."""

    def __reduce__(self) -> tuple[type["BadClip"], tuple[str, float | None]]:
        return type(self), (str(self), self.second)


class Decoder(Protocol):
    """One way of reading video files: PyAV, or torchcodec."""

    def decode(self, path: Path, clips: Sequence[Clip], wanted: Wanted) -> Iterator[Decoded | BadClip]:
        """Each of a file's clips, which are in order of time, or why it is not to be had; memory for one at a time."""
