"""What happens in a filmed clip: five of LLP's categories, each with a look and a sound of its own.

They stand for nothing that a network has learnt from the world. They are there to be told apart, in time and by
modality, from each other and from the background.
"""

import shutil
import subprocess
import wave
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from math import gcd, sin, tau

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.signal import butter, resample_poly, sosfilt

RATE = 48000
"""Samples a second of all that is heard."""
HEIGHT, WIDTH = 192, 256
_DOWN, _ACROSS = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
SENTENCE = "Good morning. This is a voice that nobody has to see in order to hear it, and so it goes on speaking."
Mask = Bool[np.ndarray, "height width"]
Sound = Float[np.ndarray, " sample"]


@dataclass(frozen=True)
class Look:
    """Where a category is in the picture at a time in seconds, and in which colour (RGB)."""

    colour: tuple[int, int, int]
    mask: Callable[[float], Mask]


def _disc(across: float, down: float, radius: float) -> Mask:
    return (_ACROSS - across) ** 2 + (_DOWN - down) ** 2 < radius**2


def _flash(time: float) -> Mask:
    return _disc(WIDTH / 2, HEIGHT / 2, 60 if time * 4 % 1 < 0.5 else 25)


def _drive(time: float) -> Mask:
    left = (time * 90) % (WIDTH + 80) - 80
    return (np.abs(_ACROSS - left - 40) < 40) & (np.abs(_DOWN - 135) < 25)


def _bellows(time: float) -> Mask:
    return np.sin(_ACROSS * (0.25 + 0.1 * sin(tau * time))) > 0.2


def _rotor(time: float) -> Mask:
    angle = tau * time * 0.7
    along = (_ACROSS - WIDTH / 2) * np.cos(angle) + (_DOWN - HEIGHT / 2) * np.sin(angle)
    beside = (_DOWN - HEIGHT / 2) * np.cos(angle) - (_ACROSS - WIDTH / 2) * np.sin(angle)
    return (np.abs(along) < 85) & (np.abs(beside) < 12)


def _face(time: float) -> Mask:
    eyes = _disc(WIDTH / 2 - 25, 75, 9) | _disc(WIDTH / 2 + 25, 75, 9)
    mouth = ((_ACROSS - WIDTH / 2) / 28) ** 2 + ((_DOWN - 125) / (4 + 10 * abs(sin(tau * 2 * time)))) ** 2 < 1
    return _disc(WIDTH / 2, 96, 70) & ~eyes & ~mouth


LOOKS: Mapping[str, Look] = {
    "Fire_alarm": Look((235, 40, 30), _flash),
    "Car": Look((40, 90, 230), _drive),
    "Accordion": Look((230, 190, 40), _bellows),
    "Helicopter": Look((60, 200, 120), _rotor),
    "Speech": Look((240, 200, 170), _face),
}
CATEGORIES_SHOWN = tuple(LOOKS)


def _beeps(seconds: float) -> Sound:
    times = _times(seconds)
    return np.sin(tau * 3000 * times) * (times * 4 % 1 < 0.5)


def _engine(seconds: float) -> Sound:
    times = _times(seconds)
    return _sum(np.sin(tau * 55 * harmonic * times) / harmonic for harmonic in range(1, 8))


def _chord(seconds: float) -> Sound:
    times = _times(seconds)
    return _sum(np.sin(tau * pitch * times) + np.sin(tau * 2 * pitch * times) / 2 for pitch in (262, 330, 392))


def _chopped(seconds: float) -> Sound:
    times = _times(seconds)
    noise = np.random.default_rng(0).standard_normal(len(times))
    band = sosfilt(butter(2, (150, 900), "bandpass", fs=RATE, output="sos"), noise)
    return band * (0.3 + (np.sin(tau * 11 * times) > 0))


def _voice(seconds: float) -> Sound:
    """A voice of espeak-ng where that is installed, else a buzz in syllables; over and over."""
    said = _spoken()
    if said is None:
        times = _times(seconds)
        buzz = _sum(np.sin(tau * 140 * harmonic * times) / harmonic**0.5 for harmonic in range(1, 25))
        return buzz * np.clip(np.sin(tau * 3.5 * times) + 0.3, 0, 1)
    return np.resize(said, round(seconds * RATE))


SOUNDS: Mapping[str, Callable[[float], Sound]] = {
    "Fire_alarm": _beeps,
    "Car": _engine,
    "Accordion": _chord,
    "Helicopter": _chopped,
    "Speech": _voice,
}


def sound_of(category: str, seconds: float) -> Float[np.ndarray, " sample"]:
    """So much of the category's sound, in [-0.5, 0.5], equally loud for all."""
    sound = np.asarray(SOUNDS[category](seconds), np.float32)
    return np.clip(sound * (0.12 / max(float(np.sqrt(np.mean(sound**2))), 1e-6)), -0.5, 0.5)


def backdrop(hue: float, time: float) -> UInt8[np.ndarray, "height width 3"]:
    """A dim, slowly moving gradient; `hue` in [0, 1) makes it another clip's."""
    waves = np.sin(_ACROSS / 60 + tau * (hue + time / 15)) + np.cos(_DOWN / 45 - tau * (hue * 3 - time / 20))
    tint = 45 + 20 * np.cos(tau * (hue + np.arange(3) / 3))
    return (tint + 12 * waves[..., None]).astype(np.uint8)


def has_voice() -> bool:
    """Whether speech is spoken by espeak-ng."""
    return _spoken() is not None


@lru_cache
def _spoken() -> Sound | None:
    program = shutil.which("espeak-ng")
    if program is None:
        return None
    written = subprocess.run([program, "--stdout", "-s", "160", SENTENCE], capture_output=True, check=True).stdout
    with wave.open(BytesIO(written)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(1 << 30), "<i2")
    common = gcd(RATE, rate)
    return resample_poly(samples / 32768, RATE // common, rate // common)


def _sum(parts: Iterable[Sound]) -> Sound:
    return np.add.reduce(list(parts))


def _times(seconds: float) -> Sound:
    return np.arange(round(seconds * RATE)) / RATE
