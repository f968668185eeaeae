"""VGGish's front end against a computation of its own in scipy, and the facts of the published code."""

import math

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.extract.networks.log_mel import BANDS, FRAMES, PATCH, RATE, mel, mel_bands, patches, periodic_hann


def log_mel(sound: np.ndarray) -> np.ndarray:
    """The log-mel spectrogram of a sound, by scipy's transform and triangles drawn one by one."""
    window = scipy.signal.get_window("hann", 400)
    _, _, transform = scipy.signal.spectrogram(
        sound, RATE, window=window, nperseg=400, noverlap=240, nfft=512, detrend=False, scaling="spectrum",
        mode="complex",
    )  # fmt: skip
    magnitudes = np.abs(transform * window.sum())
    mels = np.linspace(2595 * math.log10(1 + 125 / 700), 2595 * math.log10(1 + 7500 / 700), 66)
    bands = np.zeros((64, magnitudes.shape[1]))
    for band, (left, middle, right) in enumerate(zip(mels, mels[1:], mels[2:], strict=False)):
        for number in range(1, 257):
            at = 2595 * math.log10(1 + number * RATE / 512 / 700)
            if left < at <= middle:
                bands[band] += magnitudes[number] * (at - left) / (middle - left)
            elif middle < at < right:
                bands[band] += magnitudes[number] * (right - at) / (right - middle)
    return np.log(bands.T + 0.01)


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)


@pytest.mark.parametrize(
    "sound",
    [tone(440), tone(3000) + 0.3, np.random.default_rng(0).normal(0, 0.2, RATE), tone(7900), np.zeros(RATE)],
    ids=["tone", "tone over a constant", "noise", "above the highest band", "silence"],
)
def test_a_patch_is_what_an_independent_computation_makes_of_the_sound(sound: np.ndarray) -> None:
    (patch,) = patches(sound, [0])
    np.testing.assert_allclose(patch, log_mel(sound)[:FRAMES], rtol=0, atol=2e-6)


def test_patches_of_a_longer_sound_are_pieces_of_its_one_spectrogram_as_in_the_release() -> None:
    sound = np.random.default_rng(1).normal(0, 0.2, 10 * RATE)
    whole, found = log_mel(sound), patches(sound, np.arange(10) * 15360)
    for number, patch in enumerate(found):
        np.testing.assert_allclose(patch, whole[96 * number : 96 * (number + 1)], rtol=0, atol=2e-6)


def test_silence_is_the_logarithm_of_the_floor_in_every_band() -> None:
    assert np.array_equal(patches(np.zeros(RATE, np.float32), [0]), np.full((1, 96, 64), np.float32(np.log(0.01))))


@pytest.mark.parametrize("hertz", [300, 1000, 4000])
def test_a_tone_is_loudest_in_the_band_around_it(hertz: float) -> None:
    middles = np.linspace(mel(125), mel(7500), BANDS + 2)[1:-1]
    (patch,) = patches(tone(hertz), [0])
    loudest = patch.mean(axis=0).argmax()
    assert abs(middles[loudest] - mel(hertz)) <= (middles[1] - middles[0]) / 2 + 22  # half a band, and half a frequency


def test_the_window_is_the_periodic_one() -> None:
    window = periodic_hann(400)
    np.testing.assert_allclose(window, scipy.signal.get_window("hann", 400, fftbins=True), atol=1e-12)
    assert window[200] == 1.0
    assert not np.allclose(window, np.hanning(400), atol=1e-4)


def test_the_bands_lie_between_125_and_7500_hertz_and_leave_the_constant_part_out() -> None:
    bands, hertz = mel_bands(), np.arange(257) * RATE / 512
    assert bands.shape == (257, 64)
    assert not bands[0].any()
    assert not bands[(hertz <= 125) | (hertz >= 7500)].any()
    assert (bands.max(axis=0) <= 1).all()
    inside = (hertz > 160) & (hertz < 7200)
    np.testing.assert_allclose(bands[inside].sum(axis=1), 1.0, atol=1e-9)


def test_mel_is_htks_formula() -> None:
    assert float(mel(1000.0)) == pytest.approx(1127 * math.log(1 + 1000 / 700))
    assert float(mel(0.0)) == 0.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2 * RATE), st.integers(0, RATE))
def test_what_lies_after_the_end_is_silence(length: int, start: int) -> None:
    sound = np.random.default_rng(length).normal(0, 0.2, length).astype(np.float32)
    longer = np.concatenate([sound, np.zeros(2 * RATE, np.float32)])
    assert np.array_equal(patches(sound, [start]), patches(longer, [start]))


def test_a_patch_hears_its_own_975_milliseconds_and_nothing_else() -> None:
    sound = np.random.default_rng(2).normal(0, 0.2, 3 * RATE)
    other = sound.copy()
    other[:RATE] = other[RATE + PATCH :] = 0
    assert np.array_equal(patches(sound, [RATE]), patches(other, [RATE]))
    other[RATE + 50] += 1
    assert not np.array_equal(patches(sound, [RATE]), patches(other, [RATE]))


def test_no_start_gives_no_patch() -> None:
    assert patches(np.zeros(RATE, np.float32), []).shape == (0, 96, 64)
