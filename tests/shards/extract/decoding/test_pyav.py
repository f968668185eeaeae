"""Clips of real files: what is seen and heard at which second, whatever the container."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from shards.extract.clips import Clip, cut
from shards.extract.decoding import Picture, Wanted
from shards.extract.filming.encode import Codecs, write_video
from tests.shards.extract.decoding.results import SMALL, bright, decoded, levels, loud, one
from tests.shards.extract.material import (
    LOSSLESS,
    RATE,
    WIDTH,
    busy,
    copy,
    counting,
    flash,
    flat,
    tone,
    write_frames,
    write_tracks,
)
from tests.shards.extract.test_media import CONTAINERS


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_flash_and_a_tone_are_at_their_second_in_every_container(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    write_video(path, flash(4, 1.5, 2.5), 25, tone(4, 1.5, 2.5), codecs=CONTAINERS[kind])
    got = one(path)
    assert got.present.all()
    assert got.present.shape == (2, 4)
    assert bright(got) == (pytest.approx(1.5625, abs=0.07), pytest.approx(2.4375, abs=0.07))
    priming = 0.06 if kind in ("avi", "flv", "ts", "mpg") else 0.002  # these do not say what the encoder put before
    assert loud(got) == (pytest.approx(1.5, abs=priming), pytest.approx(2.5, abs=priming + 0.01))


@pytest.mark.parametrize("codecs", [LOSSLESS, Codecs("rawvideo", "flac", ()), Codecs("ffv1", "pcm_f32le", ())])
def test_what_is_stored_without_loss_is_there_to_the_sample(tmp_path: Path, codecs: Codecs) -> None:
    sound = tone(3, 0.5, 2.25)
    write_video(tmp_path / "x.mkv", counting(75), 25, sound, codecs=codecs)
    got = one(tmp_path / "x.mkv", wanted=Wanted((SMALL,), (RATE,)))
    assert np.abs(got.sound[RATE] - sound).max() < 1e-3
    shown = [int((cell + 0.5) / 8 * 25) for cell in range(24)]
    np.testing.assert_allclose(levels(got), [2 * number + 1 for number in shown], atol=3)


def test_every_network_gets_its_size_and_rate_out_of_one_pass(clip: Path) -> None:
    pictures = (Picture(24), Picture(16, 24))
    got = one(clip, wanted=Wanted(pictures, (16000, 48000), frames_per_second=2))
    assert {each: frames.shape for each, frames in got.frames.items()} == {
        pictures[0]: (8, 24, 24, 3),
        pictures[1]: (8, 16, 16, 3),
    }
    assert {rate: (sound.shape, sound.dtype) for rate, sound in got.sound.items()} == {
        16000: ((64_000,), np.float32),
        48000: ((192_000,), np.float32),
    }
    assert one(clip, wanted=Wanted((), (16000,))).frames == {}
    assert one(clip, wanted=Wanted((SMALL,), ())).sound == {}


@pytest.mark.parametrize("clip_", [Clip("x_7_17", 7, 17), Clip("x_3.3_8.1", 3.3, 8.1), Clip("x_31_40", 31, 40)])
def test_a_clip_by_seeking_is_the_same_as_by_decoding_from_the_start(long: Path, clip_: Clip) -> None:
    wanted = Wanted((SMALL,), (16000,), frames_per_second=10)
    got = one(long, clip_, wanted=wanted)
    whole = list(_frames(long))
    expected = [
        whole[int(clip_.start * 10 + number + 0.5 + 1e-6)] for number in range(int((clip_.end - clip_.start) * 10))
    ]
    np.testing.assert_allclose(levels(got)[: len(expected)], expected, atol=0.5)
    length = int((clip_.end - clip_.start) * 16000)
    phase = tone(40, rate=16000)[round(clip_.start * 16000) :][:length]
    assert np.corrcoef(got.sound[16000][:length], phase)[0, 1] > 0.999


def _frames(path: Path) -> Iterator[float]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24").mean()


@pytest.mark.parametrize("kind", CONTAINERS)
def test_in_every_container_a_clip_by_seeking_is_a_part_of_one_from_the_start(tmp_path: Path, kind: str) -> None:
    write_video(tmp_path / f"x.{kind}", busy(200), 25, tone(8), codecs=CONTAINERS[kind])
    whole, part = decoded(tmp_path / f"x.{kind}", Clip("x_0_8", 0, 8), Clip("x_4_7", 4, 7))
    frames = np.abs(whole.frames[SMALL][32:56].astype(int) - part.frames[SMALL]).max(axis=(1, 2, 3))
    assert (frames > 2).sum() <= (2 if kind == "mpg" else 0)  # MPEG's program streams tell the time of few frames
    assert np.corrcoef(whole.sound[16000][64_000:112_000], part.sound[16000])[0, 1] > 0.999


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "avi"])
def test_a_clip_does_not_depend_on_what_was_decoded_before(tmp_path: Path, long: Path, kind: str) -> None:
    path = copy(long, tmp_path / f"x.{kind}") if kind != "avi" else tmp_path / "x.avi"
    if kind == "avi":
        write_video(path, busy(200), 10, tone(20), codecs=CONTAINERS["avi"])
    clips = cut("x", 20.0).clips
    together, alone = decoded(path, *clips), [one(path, each) for each in clips]
    for first, second in zip(together, alone, strict=True):
        assert np.array_equal(first.frames[SMALL], second.frames[SMALL])
        assert np.array_equal(first.sound[16000], second.sound[16000])
        assert np.array_equal(first.present, second.present)


def test_a_file_without_times_is_decoded_from_its_start(tmp_path: Path) -> None:
    write_video(tmp_path / "x.h264", counting(100), 25, None)
    for clip_ in (Clip("x_0_2", 0, 2), Clip("x_2_4", 2, 4)):
        got = one(tmp_path / "x.h264", clip_)
        shown = [int((clip_.start + (cell + 0.5) / 8) * 25) for cell in range(16)]
        np.testing.assert_allclose(levels(got), [2 * number + 1 for number in shown], atol=4)


def test_frames_of_variable_rate_are_shown_until_the_next_one(tmp_path: Path) -> None:
    times = [0, 100, 130, 1900, 1950, 5200]
    write_frames(tmp_path / "x.mkv", [(flat(40 * number + 10), time) for number, time in enumerate(times)])
    got = one(tmp_path / "x.mkv", Clip("x_0_6", 0, 6))
    shown = [40 * (int(np.searchsorted(times, (cell + 0.5) * 125, "right")) - 1) + 10 for cell in range(48)]
    np.testing.assert_allclose(levels(got)[:42], shown[:42], atol=3)
    assert got.present[1, :5].all()
    assert one(tmp_path / "x.mkv", Clip("x_0_5", 0, 5)).present[1].all()


def test_a_track_that_begins_late_is_absent_before(tmp_path: Path) -> None:
    write_tracks(tmp_path / "x.mp4", [(tone(6)[None], 0, "mono")], picture_from=2.2)
    got = one(tmp_path / "x.mp4")
    assert got.present.astype(int).tolist() == [
        [1] * 6 + [0] * (got.clip.seconds - 6),
        [0, 0, 1, 1, 1, 1, 1][: got.clip.seconds],
    ]
    assert not levels(got)[:16].any()
    assert levels(got)[16] == pytest.approx(levels(got)[17], abs=3)  # the first frame, from its second's beginning


def test_sound_that_begins_late_is_silence_before(tmp_path: Path) -> None:
    write_tracks(tmp_path / "x.mp4", [(tone(1.5)[None], 2.2, "mono")], picture_from=0)
    got = one(tmp_path / "x.mp4")
    assert got.present.astype(int).tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert loud(got) == (pytest.approx(2.2, abs=0.03), pytest.approx(3.7, abs=0.03))


@pytest.mark.parametrize(("seen", "heard"), [(2, 5), (5, 2)])
def test_the_longer_track_goes_on_alone(tmp_path: Path, seen: int, heard: int) -> None:
    write_video(tmp_path / "x.mp4", counting(25 * seen), 25, tone(heard))
    got = one(tmp_path / "x.mp4")
    assert got.present.sum(axis=1).tolist() == [heard, seen]
    assert not levels(got)[8 * seen :].any()
    assert not np.abs(got.sound[16000][16000 * heard + 800 :]).max(initial=0) > 0.01
    assert got.notes == ()


def test_a_gap_in_the_sound_is_absent(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mkv", counting(100), 25, tone(6), codecs=LOSSLESS)
    gap = copy(
        tmp_path / "whole.mkv",
        tmp_path / "x.mkv",
        lambda packet: packet.stream.type == "video" or not 1.5 < packet.pts * packet.time_base < 4,
    )
    got = one(gap, Clip("x_0_6", 0, 6))
    assert got.present[0].tolist() == [True, True, False, False, True, True]
    assert np.abs(got.sound[16000][26_000:62_000]).max() == 0
    assert np.abs(got.sound[16000][70_000:]).max() > 0.3


def test_without_sound_or_picture_there_is_silence_or_black(tmp_path: Path) -> None:
    write_video(tmp_path / "seen.mp4", counting(50), 25, None)
    write_video(tmp_path / "heard.wav", None, 25, tone(2), codecs=Codecs("", "pcm_s16le", ()))
    seen, heard = one(tmp_path / "seen.mp4"), one(tmp_path / "heard.wav")
    assert seen.present.tolist() == [[False, False], [True, True]]
    assert heard.present.tolist() == [[True, True], [False, False]]
    assert not seen.sound[16000].any()
    assert not heard.frames[SMALL].any()
    assert "nothing is heard" in seen.notes[0]
    assert "nothing is seen" in heard.notes[0]


def test_a_track_of_silence_is_present(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", counting(50), 25, np.zeros(2 * RATE, np.float32))
    assert one(tmp_path / "x.mp4").present.all()


@pytest.mark.parametrize("number", [0, 1])
def test_the_track_of_sound_that_is_asked_for_is_heard(tmp_path: Path, number: int) -> None:
    low, high = tone(2, pitch=300)[None], np.tile(tone(2, pitch=3000), (2, 1))
    write_tracks(tmp_path / "x.mkv", [(low, 0, "mono"), (high, 0, "stereo")], picture_from=0)
    sound = one(tmp_path / "x.mkv", Clip("x_0_2", 0, 2), wanted=Wanted((), (16000,), audio_track=number)).sound[16000]
    pitch = np.abs(np.fft.rfft(sound)).argmax() / 2
    assert pitch == pytest.approx((300, 3000)[number], abs=2)


@pytest.mark.parametrize("layout", ["stereo", "5.1"])
def test_any_layout_becomes_mono(tmp_path: Path, layout: str) -> None:
    channels = av.AudioLayout(layout).nb_channels
    write_tracks(tmp_path / "x.mp4", [(np.tile(tone(2), (channels, 1)), 0, layout)], picture_from=0)
    sound = one(tmp_path / "x.mp4", Clip("x_0_2", 0, 2)).sound[16000]
    assert sound.std() == pytest.approx(tone(2).std(), rel=0.15)


def test_phones_that_were_turned_give_upright_pictures(tmp_path: Path) -> None:
    half = flat(20)
    half[:, : WIDTH // 2] = 220  # bright on the left as stored
    write_frames(tmp_path / "x.mp4", [(half, 40 * number) for number in range(25)], turned=(270, False))
    frame = one(tmp_path / "x.mp4").frames[SMALL][0]
    assert frame[:6].mean() > 180
    assert frame[10:].mean() < 60


def test_interlaced_pictures_are_taken_as_they_are(tmp_path: Path) -> None:
    options = (("flags", "+ilme+ildct"), ("qscale", "2"))
    write_video(tmp_path / "x.mpg", flash(3, 1, 2), 25, None, codecs=Codecs("mpeg2video", "", options))
    with av.open(str(tmp_path / "x.mpg")) as container:
        assert next(container.decode(video=0)).interlaced_frame
    assert bright(one(tmp_path / "x.mpg")) == (pytest.approx(1.06, abs=0.07), pytest.approx(1.94, abs=0.07))


@pytest.mark.parametrize("seconds", [0.04, 0.3, 1])
def test_a_very_short_file_is_one_clip(tmp_path: Path, seconds: float) -> None:
    write_video(tmp_path / "x.mp4", counting(max(1, round(25 * seconds))), 25, tone(seconds))
    got = one(tmp_path / "x.mp4")
    assert got.clip.seconds == 1
    assert got.present.tolist() == [[True], [True]]
    assert (levels(got) > 0).all()
    assert got.sound[16000].shape == (16000,)
