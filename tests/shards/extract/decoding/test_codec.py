"""TorchCodec sees what PyAV sees, or says that it cannot."""

import ctypes.util
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from shards.extract.clips import Clip, cut
from shards.extract.decoding import BadClip, Decoded, Picture, Wanted
from shards.extract.decoding.pyav import PyAV
from shards.extract.filming.encode import write_video
from shards.extract.media import examine
from tests.shards.extract.material import (
    busy,
    changed,
    copy,
    counting,
    damaged,
    flat,
    indexed_first,
    tone,
    write_frames,
    write_tracks,
)
from tests.shards.extract.memory import write_bomb
from tests.shards.extract.test_media import CONTAINERS

pytest.importorskip("torchcodec")
if ctypes.util.find_library("avcodec") is None:
    pytest.skip("TorchCodec needs FFmpeg's shared libraries", allow_module_level=True)

from shards.extract.decoding.codec import TorchCodec

SMALL, LARGE = Picture(16), Picture(24, 32)
WANTED = Wanted((SMALL, LARGE), (16000,))


def both(path: Path, *clips: Clip) -> list[tuple[Decoded, Decoded]]:
    chosen = clips or cut(path.stem, examine(path).seconds).clips
    pairs = list(zip(*(decoder.decode(path, chosen, WANTED) for decoder in (PyAV(), TorchCodec())), strict=True))
    for pair in pairs:
        assert all(isinstance(each, Decoded) for each in pair), pair
    return pairs  # type: ignore[return-value]


def check_same(path: Path, *clips: Clip) -> None:
    for ours, theirs in both(path, *clips):
        assert np.array_equal(ours.present, theirs.present)
        assert np.array_equal(ours.sound[16000], theirs.sound[16000])
        for picture in WANTED.pictures:
            difference = np.abs(ours.frames[picture].astype(int) - theirs.frames[picture])
            assert difference.mean() < 2
            assert difference.mean(axis=(1, 2, 3)).max() < 6


@pytest.mark.parametrize("kind", [kind for kind in CONTAINERS if kind not in ("ts", "mpg")])
def test_the_same_is_seen_and_heard_in_every_container(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    write_video(path, busy(100), 25, tone(4), codecs=CONTAINERS[kind])
    check_same(path)


def test_the_same_is_seen_at_a_variable_rate(tmp_path: Path) -> None:
    times = [0, 100, 130, 1900, 1950, 5200]
    write_frames(tmp_path / "x.mkv", [(flat(40 * number + 10), time) for number, time in enumerate(times)])
    check_same(tmp_path / "x.mkv", Clip("x_0_5", 0, 5))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_same_is_seen_of_a_phone_that_was_turned(tmp_path: Path, degrees: int) -> None:
    half = flat(20)
    half[:, :20] = 220
    write_frames(tmp_path / "x.mp4", [(half, 40 * number) for number in range(25)], turned=(degrees, False))
    check_same(tmp_path / "x.mp4", Clip("x_0_1", 0, 1))


@pytest.mark.parametrize(("heard", "seen"), [(0.0, 2.2), (2.2, 0.0)])
def test_the_same_is_absent(tmp_path: Path, heard: float, seen: float) -> None:
    write_tracks(tmp_path / "x.mp4", [(tone(6)[None], heard, "mono")], picture_from=seen)
    check_same(tmp_path / "x.mp4")
    write_video(tmp_path / "y.wav", None, 25, tone(2), codecs=CONTAINERS["mp4"].__class__("", "pcm_s16le", ()))
    check_same(tmp_path / "y.wav")


@pytest.mark.parametrize("clip", [Clip("x_3.3_8.1", 3.3, 8.1), Clip("x_15_20", 15, 20), Clip("x_0_0.04", 0, 0.04)])
def test_the_same_is_seen_in_the_middle(tmp_path: Path, clip: Clip) -> None:
    write_video(tmp_path / "x.mp4", busy(200), 10, tone(20))
    check_same(tmp_path / "x.mp4", clip)


def test_a_clip_does_not_depend_on_what_was_decoded_before_and_another_file_is_another(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", busy(300), 10, None)
    clips = cut("x", 30.0).clips
    one_by_one = [next(TorchCodec().decode(tmp_path / "x.mp4", [clip], WANTED)) for clip in reversed(clips)][::-1]
    for first, second in zip(TorchCodec().decode(tmp_path / "x.mp4", clips, WANTED), one_by_one, strict=True):
        assert isinstance(first, Decoded)
        assert isinstance(second, Decoded)
        assert np.array_equal(first.frames[LARGE], second.frames[LARGE])
    write_video(tmp_path / "x.mp4", counting(100), 10, None)
    check_same(tmp_path / "x.mp4")


def test_what_it_does_not_do_is_said_and_pyav_is_named(tmp_path: Path) -> None:
    write_frames(tmp_path / "x.mp4", [(flat(20), 0), (flat(90), 40)], turned=(90, True))
    write_video(tmp_path / "x.h264", counting(50), 25, None)
    for name in ("x.mp4", "x.h264"):
        (bad,) = TorchCodec().decode(tmp_path / name, [Clip("x_0_1", 0, 1)], WANTED)
        assert isinstance(bad, BadClip)
        assert "--decoder pyav" in str(bad)


def test_damage_is_refused_by_its_second_and_other_clips_are_good(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mp4", busy(400), 10, tone(40))
    spoilt = changed(
        indexed_first(tmp_path / "whole.mp4"), tmp_path / "x.mp4", lambda content: damaged(content, 0.53, 0.6, 10)
    )
    got = list(TorchCodec().decode(spoilt, cut("x", 40.0).clips, WANTED))
    assert [type(each) for each in got] == [Decoded, Decoded, BadClip, Decoded]
    assert isinstance(got[2], BadClip)
    assert got[2].second == pytest.approx(23, abs=3)
    assert "--decoder pyav" in str(got[2])


def test_a_truncated_file_is_said_to_end_early(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mp4", busy(400), 10, tone(40))
    short = changed(
        copy(tmp_path / "whole.mp4", tmp_path / "whole.mkv"),
        tmp_path / "x.mkv",
        lambda content: content[: len(content) * 6 // 10],
    )
    got = list(TorchCodec().decode(short, cut("x", 40.0).clips, WANTED))
    assert [type(each) for each in got] == [Decoded, Decoded, BadClip, BadClip]
    assert all("that its header says" in str(bad) for bad in got[2:])


def test_what_is_refused_by_its_header_is_refused_here_too(tmp_path: Path) -> None:
    (tmp_path / "x.m3u8").write_text("#EXTM3U\n#EXTINF:4,\nclip.ts\n")
    got = list(TorchCodec().decode(tmp_path / "x.m3u8", cut("x", 20.0).clips, WANTED))
    assert len(got) == 2
    assert all("list of other files" in str(each) for each in got)


def test_pictures_that_become_too_large_in_the_middle_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = write_bomb(tmp_path / "x.avi", 2000)
    clips = [Clip("x_0_1", 0, 1), Clip("x_1_2", 1, 2)]
    good, bad = TorchCodec(1_000_000).decode(path, clips, WANTED)
    assert isinstance(good, Decoded)
    assert isinstance(bad, BadClip)
    assert "must be whole and within --max_pixels" in str(bad)
    assert bad.second == pytest.approx(1.6, abs=0.01)
    (garbled,) = TorchCodec().decode(path, clips[1:], WANTED)  # within the limit, but of two sizes
    assert isinstance(garbled, BadClip)
    assert "--decoder pyav" in str(garbled)
    assert ".cpp" not in str(garbled)
    assert "(3])" not in str(garbled)


def test_a_file_whose_first_picture_is_too_large_is_refused(tmp_path: Path) -> None:
    frames = [(flat(5 * number), number) for number in range(50)]
    write_frames(tmp_path / "x.avi", frames, Fraction(1, 25), codec="png", pixels="rgb24")
    content = (tmp_path / "x.avi").read_bytes()
    place = content.index(b"IHDR") + 4
    (tmp_path / "x.avi").write_bytes(content[:place] + struct.pack(">II", 9000, 9000) + content[place + 8 :])
    (bad,) = TorchCodec().decode(tmp_path / "x.avi", [Clip("x_1_2", 1, 2)], WANTED)
    assert isinstance(bad, BadClip)
    assert "at second 0.0" in str(bad)
