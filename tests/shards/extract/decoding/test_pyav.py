"""Clips of real files: what is seen and heard at which second, whatever the container, and what is said of bad ones."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from shards.extract.clips import Clip, cut
from shards.extract.decoding import BadClip, Decoded, Picture, Wanted
from shards.extract.decoding.pyav import PyAV
from shards.extract.encode import Codecs, write_video
from shards.extract.media import examine
from tests.shards.extract.material import (
    BRIGHT,
    DARK,
    HEIGHT,
    LOSSLESS,
    RATE,
    WIDTH,
    busy,
    changed,
    copy,
    counting,
    damaged,
    flash,
    flat,
    indexed_first,
    tone,
    usual,
    write_frames,
    write_tracks,
)
from tests.shards.extract.test_media import CONTAINERS

SMALL = Picture(16)
WANTED = Wanted((SMALL,), (16000,))


def decoded(path: Path, *clips: Clip, wanted: Wanted = WANTED) -> list[Decoded]:
    chosen = clips or cut(path.stem, examine(path).seconds).clips
    results = list(PyAV().decode(path, chosen, wanted))
    for result in results:
        assert isinstance(result, Decoded), result
    return results  # type: ignore[return-value]


def one(path: Path, *clips: Clip, wanted: Wanted = WANTED) -> Decoded:
    (result,) = decoded(path, *clips, wanted=wanted)
    return result


def refusal(path: Path, clip: Clip, wanted: Wanted = WANTED, max_pixels: int = 1 << 26) -> BadClip:
    (result,) = PyAV(max_pixels).decode(path, [clip], wanted)
    assert isinstance(result, BadClip), result
    assert str(result).endswith((".", "it."))
    return result


def levels(clip: Decoded, picture: Picture = SMALL) -> np.ndarray:
    """How bright each frame is."""
    return clip.frames[picture].mean(axis=(1, 2, 3))


def loud(clip: Decoded, rate: int = 16000) -> tuple[float, float]:
    """The seconds at which the tone begins and ends."""
    place = np.flatnonzero(np.abs(clip.sound[rate]) > 0.1) / rate
    return float(place[0]), float(place[-1])


def bright(clip: Decoded) -> tuple[float, float]:
    """The seconds between which it is bright: the middle of the first bright frame, and that of the last."""
    place = np.flatnonzero(levels(clip) > (BRIGHT + DARK) / 2)
    return (place[0] + 0.5) / 8, (place[-1] + 0.5) / 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return usual(tmp_path_factory.mktemp("usual") / "clip.mp4")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds that change all the time, index first, a key frame every two and a half seconds."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    options = (("crf", "23"), ("preset", "ultrafast"), ("g", "25"))
    write_video(path, busy(400), 10, tone(40), RATE, Codecs(options=options))
    return indexed_first(path)


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
    pictures = (Picture(24), Picture(16, 24, "bicubic"))
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


def test_clips_before_the_end_of_a_truncated_file_are_good_and_others_say_where_it_ends(
    tmp_path: Path, long: Path
) -> None:
    short = changed(long, tmp_path / "x.mp4", lambda content: content[: len(content) * 6 // 10])
    got = list(PyAV().decode(short, cut("x", 40.0).clips, WANTED))
    assert [type(each) for each in got] == [Decoded, Decoded, BadClip, BadClip]
    for bad in got[2:]:
        assert isinstance(bad, BadClip)
        assert bad.second == pytest.approx(24, abs=2)
        assert f"ends at second {bad.second:.1f} of the 40.0 that its header says" in str(bad)


def test_damaged_frames_repeat_the_last_good_one_and_are_counted(tmp_path: Path, long: Path) -> None:
    spoilt = changed(long, tmp_path / "x.mp4", lambda content: damaged(content, 0.5, 0.55))
    before, during, _, after = decoded(
        spoilt, *cut("x", 40.0).clips[:1], Clip("x_17_27", 17, 27), *cut("x", 40.0).clips[2:]
    )
    assert before.notes == after.notes == ()
    assert "damaged frame" in during.notes[0]
    assert "damaged piece" in during.notes[1]
    assert during.present[1].all()
    assert (levels(during) > 0).all()


def test_a_clip_of_nothing_but_damage_is_refused_by_its_second(tmp_path: Path, long: Path) -> None:
    noise = np.random.default_rng(0)
    spoilt = changed(
        long, tmp_path / "x.mp4", lambda content: content[: len(content) // 5] + noise.bytes(len(content) * 4 // 5)
    )
    bad = refusal(spoilt, Clip("x_20_30", 20, 30))
    assert bad.second == 20
    assert "from second 20 to 30" in str(bad)


def test_a_clip_that_begins_after_the_files_end_is_refused(clip: Path) -> None:
    bad = refusal(clip, Clip("x_30_40", 30, 40))
    assert "begins at second 30" in str(bad)
    assert "ends at 4.0" in str(bad)
    assert bad.second == 30


def test_a_part_across_the_files_end_is_short(clip: Path) -> None:
    got = one(clip, Clip("x_0_10", 0, 4.0))
    assert got.present.sum(axis=1).tolist() == [4, 4]
    assert got.frames[SMALL].shape[0] == 80


def test_a_file_that_is_no_video_gives_its_sentence_for_each_clip(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("no video")
    got = list(PyAV().decode(tmp_path / "x.mp4", cut("x", 20.0).clips, WANTED))
    assert len(got) == 2
    assert all(isinstance(each, BadClip) and "must be a video" in str(each) for each in got)


def test_pictures_that_become_too_large_in_the_middle_are_not_decoded(tmp_path: Path) -> None:
    """A bomb: the header says 64 × 48, the frames themselves 64,000 × 48,000."""

    def blown_up(content: bytes) -> bytes:
        head, size = b"\xff\xc0\x00\x11\x08", HEIGHT.to_bytes(2, "big") + WIDTH.to_bytes(2, "big")
        assert content.count(head + size) == 50
        return content.replace(head + size, head + (48_000).to_bytes(2, "big") + (64_000).to_bytes(2, "big"))

    frames = ((frame, number) for number, frame in enumerate(counting(50)))
    write_frames(tmp_path / "x.avi", frames, Fraction(1, 25), "mjpeg", pixels="yuvj420p")
    bomb = changed(tmp_path / "x.avi", tmp_path / "bomb.avi", blown_up)
    sentence = str(refusal(bomb, Clip("x_0_2", 0, 2)))
    assert "whole picture" in sentence


@pytest.mark.parametrize(("rate", "channels"), [(2_000_000_000, 1), (1, 1), (16000, 60_000), (7, 9), (192_000, 2)])
def test_sound_that_claims_absurd_forms_takes_no_memory_and_raises_nothing_else(
    tmp_path: Path, rate: int, channels: int
) -> None:
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 200_036, b"WAVE", b"fmt ", 16, 1, channels, rate,
                       min(rate * channels * 2, 2**32 - 1), channels * 2 % 65536, 16, b"data", 200_000)  # fmt: skip
    (tmp_path / "x.wav").write_bytes(head + bytes(200_000))
    (got,) = PyAV().decode(tmp_path / "x.wav", [Clip("x_0_2", 0, 2)], WANTED)
    assert isinstance(got, Decoded | BadClip)


@pytest.mark.parametrize("kind", [*CONTAINERS, "wav", "h264"])
def test_whatever_is_wrong_with_a_file_is_told_by_a_sentence(tmp_path: Path, kind: str) -> None:
    codecs = {"wav": Codecs("", "pcm_s16le", ()), "h264": Codecs()} | CONTAINERS
    frames, sound = None if kind == "wav" else busy(25), None if kind == "h264" else tone(1)
    write_video(tmp_path / f"whole.{kind}", frames, 25, sound, codecs=codecs[kind])
    content, random = (tmp_path / f"whole.{kind}").read_bytes(), np.random.default_rng(7)
    for _ in range(12):
        spoilt = bytearray(content[: random.integers(len(content) // 2, len(content))])
        for place in random.integers(0, len(spoilt), 20):
            spoilt[place] = random.integers(256)
        for place in random.integers(0, 600, 5):
            spoilt[place] = random.integers(256)
        (tmp_path / f"x.{kind}").write_bytes(spoilt)
        for got in PyAV().decode(tmp_path / f"x.{kind}", [Clip("x_0_1", 0, 1)], WANTED):
            assert isinstance(got, Decoded | BadClip)


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    assert "No such file" in str(refusal(tmp_path / "none.mp4", Clip("x_0_4", 0, 4)))


def test_ffmpegs_own_messages_do_not_reach_the_terminal(
    tmp_path: Path, long: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spoilt = changed(long, tmp_path / "x.mp4", lambda content: damaged(content, 0.1, 0.9))
    list(PyAV().decode(spoilt, cut("x", 40.0).clips, WANTED))
    assert capfd.readouterr() == ("", "")
