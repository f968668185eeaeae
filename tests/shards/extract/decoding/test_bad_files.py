"""Of a file that is cut off, damaged, or claims what cannot be, a sentence comes, and its good clips."""

import struct
from pathlib import Path

import numpy as np
import pytest

from shards.extract.clips import Clip, cut
from shards.extract.decoding import BadClip, Decoded, Wanted
from shards.extract.decoding.pyav import PyAV
from shards.extract.filming.encode import Codecs, write_video
from tests.shards.extract.decoding.results import SMALL, WANTED, decoded, levels, one, refusal
from tests.shards.extract.material import (
    busy,
    changed,
    copy,
    damaged,
    tone,
)
from tests.shards.extract.memory import taken, write_bomb
from tests.shards.extract.test_media import CONTAINERS


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
    assert (str(got[2]), got[2].second) == (str(got[3]), got[3].second)  # one failure of the file


def test_a_clip_that_lacks_its_last_seconds_is_not_there_whole(tmp_path: Path, long: Path) -> None:
    short = changed(long, tmp_path / "x.mp4", lambda content: content[: len(content) * 96 // 100])
    assert 37 < (refusal(short, Clip("x_30_40", 30, 40)).second or 0) < 39.4


@pytest.mark.parametrize("wanted", [Wanted((SMALL,), ()), Wanted((), (16000,))])
def test_it_is_said_too_where_only_one_of_its_tracks_is_wanted(tmp_path: Path, long: Path, wanted: Wanted) -> None:
    short = changed(long, tmp_path / "x.mp4", lambda content: content[: len(content) * 6 // 10])
    assert "that its header says" in str(refusal(short, Clip("x_20_30", 20, 30), wanted))
    assert one(short, Clip("x_10_20", 10, 20), wanted=wanted).present.any(axis=1).sum() == 1


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
@pytest.mark.parametrize(("seen", "heard"), [(2, 5), (5, 2)])
@pytest.mark.parametrize("wanted", [Wanted((SMALL,), ()), Wanted((), (16000,))])
def test_a_track_that_ends_before_the_other_is_not_taken_for_broken_off(
    tmp_path: Path, kind: str, seen: int, heard: int, wanted: Wanted
) -> None:
    write_video(tmp_path / f"x.{kind}", busy(25 * seen), 25, tone(heard))
    got = one(tmp_path / f"x.{kind}", wanted=wanted)
    assert got.present.sum(axis=1).tolist() == ([0, seen] if wanted.pictures else [heard, 0])


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


def test_a_clip_in_which_there_is_nothing_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mkv", None, 25, tone(32))
    gap = copy(tmp_path / "whole.mkv", tmp_path / "x.mkv", lambda packet: not 9 < packet.pts * packet.time_base < 21)
    bad = refusal(gap, Clip("x_11_20", 11, 20))
    assert "has neither from second 11 to 20" in str(bad)
    assert bad.second == 11


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


def test_pictures_that_become_too_large_in_the_middle_are_left_out_in_little_memory(tmp_path: Path) -> None:
    path = write_bomb(tmp_path / "x.avi", 4000)  # 46 MiB each
    (got,) = PyAV(1_000_000).decode(path, [Clip("x_0_2", 0, 2)], WANTED)
    assert isinstance(got, Decoded)
    assert got.notes[1:] == ("4 damaged frames from second 1.6 on are left out.",)
    before = """
from pathlib import Path
from shards.extract.clips import Clip
from shards.extract.decoding import Picture, Wanted
from shards.extract.decoding.pyav import PyAV
def decode(pixels):
    return list(PyAV(pixels).decode(Path(sys.argv[1]), [Clip("x_0_2", 0, 2)], Wanted((Picture(16),), ())))
"""
    assert taken(before, "decode(1_000_000)", path) < 25
    assert taken(before, "decode(25_000_000)", path) > 45  # so it can be measured


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
