"""Sound at the times it was recorded for: mono, gaps silent, at any rate that a network wants."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from jaxtyping import Float

MARGIN = 1
"""Seconds before and after a clip that are decoded too: codecs need a start, and filters hear both sides."""
FASTEST = 384_000
"""Hz: sound of a higher rate, which a file may only claim to have, is brought down to this."""
SPARE = 1
"""Seconds outside of what is wanted that are kept until it is known where the sound begins to the sample."""
TOLERANCE = (0.001, 0.005)
"""Seconds: timestamps that say so little else than that sound goes on are rounded; at least, and at most."""


class Mixer:
    """Makes mono float samples of one rate out of FFmpeg's frames, as FFmpeg mixes any layout, never above full level.

    Frames may change their rate or layout in the middle. Channels that FFmpeg cannot mix are averaged.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._form: tuple[Any, ...] = ()
        self._averaged = False
        self._resampler: Any = None

    def mono(self, frame: Any) -> Float[np.ndarray, " sample"]:
        """The frame's samples; those of another rate than this mixer's, and what is no number, are made fit."""
        frame.pts = None
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            self._form, self._averaged = form, False
            self._resampler = av.AudioResampler("fltp", "mono", self._rate, options={"rematrix_maxval": "1.0"})
        if not self._averaged:
            try:
                return _joined(self._resampler.resample(frame))
            except av.error.FFmpegError:  # this FFmpeg knows no way to mix them
                self._averaged = True
                self._resampler = av.AudioResampler("flt", frame.layout.name, self._rate)
        channels = _joined(self._resampler.resample(frame)).reshape(-1, frame.layout.nb_channels)
        return channels.mean(axis=1, dtype=np.float32)


def _joined(frames: Sequence[Any]) -> Float[np.ndarray, " sample"]:
    parts = [frame.to_ndarray()[0] for frame in frames]
    return np.nan_to_num(np.concatenate(parts) if parts else np.zeros(0, np.float32), posinf=0, neginf=0)


@dataclass
class _Run:
    """Sound without a gap; where it begins is the mean of what its frames' times say, for these may be rounded."""

    first: float
    """The second at which it begins by the time of its first frame."""
    parts: list[tuple[int, Float[np.ndarray, " sample"]]] = field(default_factory=list)
    """What is needed of it: its samples, each part behind the number of those before."""
    kept: int = 0
    length: int = 0
    frames: int = 0
    later: float = 0.0
    """Seconds by which the other frames' times say that it begins later, added up."""
    last: float = 0.0
    """The second at which it begins by the time of its last frame."""


class Sound:
    """The sound around one clip, in the making: samples are placed by their times, in seconds of the file."""

    def __init__(self, rate: int, start: float, seconds: int, tick: float) -> None:
        """`tick` is the unit of the times, in seconds: they may be wrong by that much."""
        self.rate, self.start, self.seconds = rate, start, seconds
        self._tolerance = min(max(TOLERANCE[0], 2 * tick), TOLERANCE[1])
        self._most = (seconds + 2 * MARGIN + 2 * SPARE + 1) * rate  # more is kept only where times stand still
        self._around = np.zeros((seconds + 2 * MARGIN) * rate, np.float32)
        self._filled = np.zeros(len(self._around), bool)
        self._run: _Run | None = None

    def place(self, samples: Float[np.ndarray, " sample"], time: float) -> None:
        """What begins at that time; in order of time. What lies outside is not kept, nor what is overwritten."""
        run = self._run
        if run is None or run.kept > self._most or abs(time - run.last - run.length / self.rate) > self._tolerance:
            self._settle()
            run = self._run = _Run(time)
        run.last = time - run.length / self.rate
        run.later += run.last - run.first
        run.frames += 1
        within = (time - self.start + MARGIN) * self.rate
        if -len(samples) - SPARE * self.rate < within < len(self._around) + SPARE * self.rate:
            run.parts.append((run.length, samples))
            run.kept += len(samples)
        run.length += len(samples)

    def samples(self, rates: tuple[int, ...]) -> tuple[dict[int, Float[np.ndarray, " sample"]], np.ndarray]:
        """Rate → the clip's samples, `seconds × rate` each; and how much of each second there is sound for."""
        self._settle()
        inner = slice(MARGIN * self.rate, (MARGIN + self.seconds) * self.rate)
        cover = self._filled[inner].reshape(self.seconds, self.rate).mean(axis=1)
        return {rate: _at(self._around, self.rate, rate, self.seconds) for rate in rates}, cover

    def _settle(self) -> None:
        """Puts the run that has ended to its place."""
        run, self._run = self._run, None
        if run is None:
            return
        begin = round((run.first + run.later / run.frames - self.start + MARGIN) * self.rate)
        for before, samples in run.parts:
            first = begin + before
            low, high = max(first, 0), min(first + len(samples), len(self._around))
            if low < high:
                self._around[low:high] = samples[low - first : high - first]
                self._filled[low:high] = True


def _at(around: Float[np.ndarray, " sample"], rate: int, wanted: int, seconds: int) -> Float[np.ndarray, " sample"]:
    """Without its margins, at the wanted rate, by FFmpeg's resampler."""
    if rate != wanted:
        frame = av.AudioFrame.from_ndarray(around[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        resampler = av.AudioResampler("fltp", "mono", wanted)
        around = _joined(resampler.resample(frame) + resampler.resample(None))
    inner = around[MARGIN * wanted : (MARGIN + seconds) * wanted]
    return np.ascontiguousarray(np.clip(np.pad(inner, (0, seconds * wanted - len(inner))), -1, 1), np.float32)
