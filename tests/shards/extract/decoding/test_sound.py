"""Sound lies where its timestamps say, whatever its rate, layout and format, and gaps are silent."""

import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.extract.decoding.sound import Mixer, Sound
from tests.shards.extract.material import tone

TICK = 1 / 48000


def frame(samples: np.ndarray, format_: str, layout: str, rate: int = 48000) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=format_, layout=layout)
    made.sample_rate, made.pts, made.time_base = rate, 0, Fraction(1, rate)
    return made


def heard(sound: Sound, rate: int) -> np.ndarray:
    return sound.samples((rate,))[0][rate]


def test_mono_stays_as_it_is_and_stereo_is_the_mean() -> None:
    left, right = tone(0.1), tone(0.1, pitch=1000)
    assert np.array_equal(Mixer(48000).mono(frame(left[None], "fltp", "mono")), left)
    both = Mixer(48000).mono(frame(np.stack([left, right]), "fltp", "stereo"))
    np.testing.assert_allclose(both, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("layout", ["5.1", "quad", "7.1", "2.1", "stereo"])
def test_no_layout_is_mixed_above_full_level_and_none_is_lost(layout: str) -> None:
    channels = av.AudioLayout(layout).nb_channels
    loud = Mixer(48000).mono(frame(np.ones((1, channels * 1000), np.float32), "flt", layout))
    assert loud.max() <= 1.0001
    assert loud[500] > 0.4


@pytest.mark.parametrize("layout", ["9 channels", "ambisonic 1"])
def test_channels_that_ffmpeg_cannot_mix_are_averaged(layout: str) -> None:
    channels = av.AudioLayout(layout).nb_channels
    samples = np.arange(channels) / channels * np.ones((1000, 1))
    mixer = Mixer(48000)
    for _ in range(2):
        mono = mixer.mono(frame(samples.astype(np.float32).reshape(1, -1), "flt", layout))
        np.testing.assert_allclose(mono, np.full(1000, samples[0].mean()), atol=1e-6)


@pytest.mark.parametrize(
    ("format_", "full"), [("u8", 0), ("s16", 2**15), ("s32", 2**31), ("dbl", 1), ("s16p", 2**15), ("fltp", 1)]
)
def test_any_format_of_samples_gives_the_same_level(format_: str, full: float) -> None:
    wave = tone(0.05).astype(np.float64)[None]
    dtype = {"u8": np.uint8, "s16": np.int16, "s16p": np.int16, "s32": np.int32, "dbl": np.float64, "fltp": np.float32}
    stored = wave * 128 + 128 if format_ == "u8" else wave * full
    mono = Mixer(48000).mono(frame(stored.astype(dtype[format_]), format_, "mono"))
    np.testing.assert_allclose(mono, wave[0], atol=0.01 if format_ == "u8" else 1e-4)


def test_what_is_no_number_is_silence() -> None:
    broken = np.array([[0.5, np.nan, np.inf, -np.inf, 0.5]], np.float32)
    assert Mixer(48000).mono(frame(broken, "fltp", "mono")).tolist() == [0.5, 0, 0, 0, 0.5]


def test_a_rate_that_changes_in_the_middle_is_brought_to_the_first() -> None:
    mixer = Mixer(48000)
    assert len(mixer.mono(frame(tone(0.1)[None], "fltp", "mono"))) == 4800
    assert len(mixer.mono(frame(tone(0.1, rate=24000)[None], "fltp", "mono", 24000))) == pytest.approx(4800, abs=100)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 44101, 48000, 96000, 192000])
@pytest.mark.parametrize("wanted", [16000, 48000])
def test_a_tone_is_where_it_was_at_any_rate(rate: int, wanted: int) -> None:
    sound = Sound(rate, 100.0, 2, 1 / rate)
    sound.place(tone(2, 0.5, 1.5, rate), 100.0)
    got = heard(sound, wanted)
    assert got.shape == (2 * wanted,)
    assert got.dtype == np.float32
    loud = np.flatnonzero(np.abs(got) > 0.02) / wanted
    assert loud[0] == pytest.approx(0.5, abs=0.001)
    assert loud[-1] == pytest.approx(1.5, abs=0.001)
    inner = slice(wanted * 6 // 10, wanted * 14 // 10)
    np.testing.assert_allclose(got[inner], tone(2, rate=wanted)[inner], atol=1e-3)


def test_gaps_are_silent_and_counted_out() -> None:
    sound = Sound(1000, 5.0, 4, 0.001)
    sound.place(np.full(500, 0.5, np.float32), 5.0)
    sound.place(np.full(500, 0.5, np.float32), 7.25)
    samples, cover = sound.samples((1000,))
    assert np.flatnonzero(samples[1000]).tolist() == [*range(500), *range(2250, 2750)]
    assert cover.tolist() == [0.5, 0, 0.5, 0]


def test_a_gap_is_one_however_coarse_the_times_are() -> None:
    sound = Sound(1000, 0.0, 2, 1.0)
    sound.place(np.full(500, 0.5, np.float32), 0.0)
    sound.place(np.full(500, 0.5, np.float32), 0.75)
    assert np.flatnonzero(heard(sound, 1000)).tolist() == [*range(500), *range(750, 1250)]


@pytest.mark.parametrize(
    ("size", "count", "first", "step"),
    [(10_000, 500, 499.5, 0.0), (4, 10_000, 499.5, 0.0), (1000, 500, 0.0, 1.0)],
    ids=["times that stand still", "so, of short frames", "hours before the clip"],
)
def test_what_is_outside_or_overwritten_takes_no_memory(size: int, count: int, first: float, step: float) -> None:
    tracemalloc.start()
    try:
        sound = Sound(1000, 500.0, 1, 0.001)
        for number in range(count):
            sound.place(np.full(size, 0.5, np.float32), first + number * step)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_what_lies_outside_is_left_out_and_what_overlaps_is_the_later() -> None:
    sound = Sound(1000, 5.0, 1, 0.001)
    sound.place(np.full(1500, 0.1, np.float32), 4.0)
    sound.place(np.full(5000, 0.2, np.float32), 5.25)
    assert np.round(heard(sound, 1000), 3).tolist() == [np.float32(0.1)] * 250 + [np.float32(0.2)] * 750


@given(st.integers(0, 10_000), st.sampled_from([1024, 960, 1152, 480]))
@settings(deadline=None, max_examples=25)
def test_times_rounded_to_milliseconds_neither_tear_the_sound_nor_move_it(first: int, size: int) -> None:
    """As Matroska and FLV store them; wherever one begins to read, the sound lies within a tenth of a millisecond."""
    whole = np.sin(np.arange(3 * 48000 + 20_000) * 0.01).astype(np.float32)
    sound = Sound(48000, 1.0, 1, 0.001)
    for start in range(first // size * size, len(whole) - size, size):
        sound.place(whole[start : start + size], round(start / 48000, 3))
    assert np.abs(heard(sound, 48000) - whole[48000:96000]).max() < 0.01 * 5


def test_no_sound_at_all_is_silence() -> None:
    samples, cover = Sound(44100, 0.0, 3, TICK).samples((16000, 48000))
    assert {rate: (len(each), each.any()) for rate, each in samples.items()} == {
        16000: (48000, False),
        48000: (144_000, False),
    }
    assert cover.tolist() == [0, 0, 0]


def test_samples_never_leave_full_level() -> None:
    sound = Sound(44100, 0.0, 1, TICK)
    sound.place(np.sign(tone(1, rate=44100)) * 1.7, 0.0)
    assert np.abs(heard(sound, 16000)).max() <= 1
