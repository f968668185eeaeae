"""VGGish's front end: sound becomes log-mel patches of 0.96 s, exactly as the published code computes them.

The numbers are those of the AudioSet release: 16 kHz, a periodic Hann window of 25 ms every 10 ms, the magnitudes of a
Fourier transform of 512 samples, 64 bands from 125 to 7,500 Hz on HTK's mel scale, log(x + 0.01), patches of 96 × 64.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, Float64

RATE = 16000
WINDOW, STEP, FOURIER = 400, 160, 512
"""Samples of a window (25 ms), from one window to the next (10 ms), and of the Fourier transform."""
FRAMES, BANDS = 96, 64
"""A patch: so many windows by so many bands."""
LOWEST, HIGHEST = 125.0, 7500.0
FLOOR = 0.01
"""Added before the logarithm: silence is log(0.01) in every band."""
PATCH = (FRAMES - 1) * STEP + WINDOW
"""Samples that a patch is made from: 0.975 s."""


def patches(
    sound: Float[np.ndarray, " sample"], starts: Sequence[int] | np.ndarray
) -> Float32[np.ndarray, "patch 96 64"]:
    """The patches that begin at these samples; what lies after the sound's end is silence."""
    needed = max((int(start) + PATCH for start in starts), default=0)
    padded = np.pad(sound.astype(np.float64), (0, max(0, needed - len(sound))))
    if not len(starts):
        return np.zeros((0, FRAMES, BANDS), np.float32)
    return np.stack([_log_mel(padded[start : start + PATCH]) for start in starts]).astype(np.float32)


def _log_mel(sound: Float64[np.ndarray, " sample"]) -> Float64[np.ndarray, "96 64"]:
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::STEP]
    magnitudes = np.abs(np.fft.rfft(windows * periodic_hann(WINDOW), FOURIER))
    return np.log(magnitudes @ mel_bands() + FLOOR)


def periodic_hann(length: int) -> Float64[np.ndarray, " sample"]:
    """The Hann window whose next sample would be its first again (numpy's own is the symmetric one)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi / length * np.arange(length))


def mel(hertz: Float64[np.ndarray, "*any"] | float) -> Float64[np.ndarray, "*any"]:
    """Frequencies on HTK's mel scale."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


@lru_cache(maxsize=1)
def mel_bands() -> Float64[np.ndarray, "frequency band"]:
    """How much each of the 257 frequencies counts in each band: triangles of height 1 on the mel scale.

    Neighbouring triangles overlap by half, and their corners are evenly spaced in mel. What is below the first, such as
    the constant part, counts in none.
    """
    at = mel(np.linspace(0.0, RATE / 2, FOURIER // 2 + 1))[:, None]
    corners = np.linspace(mel(LOWEST), mel(HIGHEST), BANDS + 2)
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    return np.maximum(0.0, np.minimum((at - left) / (middle - left), (right - at) / (right - middle)))
