"""Files that say what a decoder would find in a video, and the decoder that finds it: light, for it is sent around."""

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from shards.extract.clips import Clip
from shards.extract.decoding import FRAMES_PER_SECOND, BadClip, Decoded, Picture, Wanted

SIZE, RATE = Picture(4), 8000


@dataclass(frozen=True)
class Media:
    """What a file says of itself."""

    seconds: float
    notes: tuple[str, ...] = ()


def write(path: Path, seconds: float, **more: object) -> Path:
    """A file that stands for a video: of so many seconds; for `more` see `Decoder`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seconds": seconds, **more}))
    return path


def examine(path: Path) -> Media:
    """What the file says; like its likes in the world it is refused when it says nothing."""
    told = _read(path)
    if told.get("dies") == "at once":
        _die(path)
    if told.get("vanishes"):
        path.unlink()
    return Media(told["seconds"], ("It has no sound.",) if told.get("mute") else ())


@dataclass(frozen=True)
class Decoder:
    """Frames and sound by the file's name and the second.

    A file may be `mute`, be `bad` from a second on, take a `wait` (seconds a clip, in a process of a crew), be too
    `loud` for float16, kill the process that decodes it from a second on (`dies`, or the first one alone, `dies_once`;
    "at once": the process that examines it), or make the decoder fail as nobody foresaw (`odd`).
    """

    def decode(self, path: Path, clips: Sequence[Clip], wanted: Wanted) -> Iterator[Decoded | BadClip]:
        told = _read(path)
        if told.get("dies_once") and not path.with_suffix(".died").exists():
            path.with_suffix(".died").touch()
            _die(path)
        if clips[0].start >= told.get("dies", np.inf):
            _die(path)
        if told.get("odd"):
            raise ZeroDivisionError("nobody knows why")
        for clip in clips:
            time.sleep(told.get("wait", 0) if parent_process() else 0)
            yield self._clip(path, clip, told)

    def _clip(self, path: Path, clip: Clip, told: dict[str, Any]) -> Decoded | BadClip:
        if clip.end > told.get("bad", np.inf):
            return BadClip(f"'{path}' is damaged.", max(clip.start, told["bad"]))
        draw = np.random.default_rng([crc32(path.name.encode("utf-8", "surrogateescape")), round(clip.start * 1000)])
        frames = draw.integers(256, size=(clip.seconds * FRAMES_PER_SECOND, 4, 4, 3), dtype=np.uint8)
        sound = draw.uniform(-1, 1, clip.seconds * RATE).astype(np.float32) * told.get("loud", 1.0)
        present = np.ones((2, clip.seconds), bool)
        present[0] = not told.get("mute", False)
        notes = (f"Seen at {clip.start:g}.",) if told.get("noted") else ()
        return Decoded(clip, {SIZE: frames}, {RATE: sound}, present, notes)


def _die(path: Path) -> None:
    """Ends this process, as FFmpeg might; and none but one of a crew, lest a test end itself."""
    assert parent_process(), f"nobody but a crew decodes '{path}'"
    os.kill(os.getpid(), signal.SIGSEGV)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except ValueError:
        raise BadClip(f"'{path}' is no video.") from None
