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

    parts: list[Float[np.ndarray, " sample"]] = field(default_factory=list)
    length: int = 0
    starts: list[float] = field(default_factory=list)


class Sound:
    """The sound around one clip, in the making: samples are placed by their times, in seconds of the file."""

    def __init__(self, rate: int, start: float, seconds: int, tick: float) -> None:
        """`tick` is the unit of the times, in seconds: they may be wrong by that much."""
        self.rate, self.start, self.seconds = rate, start, seconds
        self._tolerance = min(max(TOLERANCE[0], 2 * tick), TOLERANCE[1])
        self._runs: list[_Run] = []

    def place(self, samples: Float[np.ndarray, " sample"], time: float) -> None:
        """What begins at that time; in order of time."""
        run = self._runs[-1] if self._runs else None
        if run is None or abs(time - run.starts[-1] - run.length / self.rate) > self._tolerance:
            run = _Run()
            self._runs.append(run)
        run.starts.append(time - run.length / self.rate)
        run.parts.append(samples)
        run.length += len(samples)

    def samples(self, rates: tuple[int, ...]) -> tuple[dict[int, Float[np.ndarray, " sample"]], np.ndarray]:
        """Rate → the clip's samples, `seconds × rate` each; and how much of each second there is sound for."""
        around = np.zeros((self.seconds + 2 * MARGIN) * self.rate, np.float32)
        filled = np.zeros(len(around), bool)
        for run in self._runs:
            first = round((float(np.mean(run.starts)) - self.start + MARGIN) * self.rate)
            run_samples = np.concatenate(run.parts)
            low, high = max(first, 0), min(first + len(run_samples), len(around))
            if low < high:
                around[low:high] = run_samples[low - first : high - first]
                filled[low:high] = True
        inner = slice(MARGIN * self.rate, (MARGIN + self.seconds) * self.rate)
        cover = filled[inner].reshape(self.seconds, self.rate).mean(axis=1)
        return {rate: _at(around, self.rate, rate, self.seconds) for rate in rates}, cover


def _at(around: Float[np.ndarray, " sample"], rate: int, wanted: int, seconds: int) -> Float[np.ndarray, " sample"]:
    """Without its margins, at the wanted rate, by FFmpeg's resampler."""
    if rate != wanted:
        frame = av.AudioFrame.from_ndarray(around[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        resampler = av.AudioResampler("fltp", "mono", wanted)
        around = _joined(resampler.resample(frame) + resampler.resample(None))
    inner = around[MARGIN * wanted : (MARGIN + seconds) * wanted]
    return np.ascontiguousarray(np.clip(np.pad(inner, (0, seconds * wanted - len(inner))), -1, 1), np.float32)
