"""A file's headers say what can be cut out of it, and one sentence says why a file is of no use."""

import pickle
import struct
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from shards.extract.container import opened
from shards.extract.filming.encode import Codecs, write_video
from shards.extract.media import examine
from tests.shards.extract.material import HEIGHT, WIDTH, changed, copy, counting, flash, tone, usual, write_tracks
from tests.shards.extract.refused import refusal

CONTAINERS = {
    "mp4": Codecs(),
    "mkv": Codecs(),
    "mov": Codecs(),
    "ts": Codecs(),
    "webm": Codecs("libvpx-vp9", "libopus", ()),
    "avi": Codecs("mpeg4", "libmp3lame", ()),
    "flv": Codecs("flv1", "aac", ()),
    "mpg": Codecs("mpeg2video", "mp2", ()),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container_says_its_length_its_size_and_its_tracks(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    rate = 48000 if kind == "webm" else 44100
    write_video(path, flash(3, 1, 2), 25, tone(3, rate=rate), rate, CONTAINERS[kind])
    media = examine(path)
    assert media.seconds == pytest.approx(3, abs=0.1)
    assert media.visual
    assert (media.visual.width, media.visual.height) == (WIDTH, HEIGHT)
    assert media.listened in media.audio
    assert media.listened
    assert media.listened.rate == rate
    assert media.notes == ()
    assert pickle.loads(pickle.dumps(media)) == media


@pytest.mark.parametrize(
    ("name", "codecs", "seen"),
    [
        ("x.h264", Codecs(), True),
        ("x.m4v", Codecs("mpeg4", "", ()), True),
        ("x.mp3", Codecs("", "libmp3lame", ()), False),
        ("x.aac", Codecs("", "aac", ()), False),
        ("x.wav", Codecs("", "pcm_u8", ()), False),
        ("x.flac", Codecs("", "flac", ()), False),
    ],
)
def test_the_length_of_a_file_without_an_index_is_found(tmp_path: Path, name: str, codecs: Codecs, seen: bool) -> None:
    path = tmp_path / name
    write_video(path, counting(75) if seen else None, 25, None if seen else tone(3), codecs=codecs)
    media = examine(path)
    assert media.seconds == pytest.approx(3, abs=0.05)
    assert (media.visual is not None, media.listened is not None) == (seen, not seen)
    assert "nothing is heard" in media.notes[0] if seen else "nothing is seen" in media.notes[0]


def test_a_webm_file_that_was_recorded_live_has_the_length_of_its_packets(tmp_path: Path) -> None:
    write_video(tmp_path / "x.webm", flash(3, 1, 2), 25, tone(3), codecs=CONTAINERS["webm"])
    live = copy(tmp_path / "x.webm", tmp_path / "live.webm", live="1")
    with av.open(str(live)) as container:
        assert container.duration is None
    assert examine(live).seconds == pytest.approx(3, abs=0.05)


def test_time_begins_with_the_first_track_and_ends_with_the_last(tmp_path: Path) -> None:
    write_tracks(tmp_path / "x.mkv", [(tone(4)[None], 2.0, "mono")], picture_from=3.5)
    media = examine(tmp_path / "x.mkv")
    assert media.origin == pytest.approx(2, abs=0.03)
    assert media.seconds == pytest.approx(5.5, abs=0.1)
    assert media.visual
    assert media.visual.start == pytest.approx(1.5, abs=0.03)


def test_a_track_that_nobody_looks_at_does_not_make_a_file_longer(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    write_tracks(path, [(tone(2)[None], 0, "mono"), (tone(9)[None], 0, "mono")], picture_from=0)
    assert examine(path, audio_track=0).seconds == pytest.approx(4, abs=0.05)
    assert examine(path, audio_track=1).seconds == pytest.approx(9, abs=0.05)


def test_a_length_that_no_file_has_is_not_believed(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mkv", counting(50), 25, None)
    copy(tmp_path / "whole.mkv", tmp_path / "plain.mkv", write_crc32="0")

    def long(content: bytes) -> bytes:
        """Matroska's element of the length, in milliseconds, and without the tags that say it again."""
        place = content.index(b"\x44\x89\x88") + 3
        return content[:place] + struct.pack(">d", 1e15) + content[place + 8 :].replace(b"DURATION", b"NOTHING!")

    absurd = changed(tmp_path / "plain.mkv", tmp_path / "x.mkv", long)
    with av.open(str(absurd)) as container:
        assert container.duration > 1e15
    assert examine(absurd).seconds == pytest.approx(2, abs=0.05)


def test_a_cover_is_no_picture_track(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "cover.png")
    write_video(tmp_path / "plain.mp3", None, 25, tone(2), codecs=Codecs("", "libmp3lame", ()))
    with (
        av.open(str(tmp_path / "plain.mp3")) as sound,
        av.open(str(tmp_path / "cover.png")) as cover,
        av.open(str(tmp_path / "x.mp3"), "w") as new,
    ):
        heard, shown = (new.add_stream_from_template(each.streams[0]) for each in (sound, cover))
        shown.disposition = av.stream.Disposition.attached_pic
        for source, stream in ((cover, shown), (sound, heard)):
            for packet in source.demux():
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
    media = examine(tmp_path / "x.mp3")
    assert media.visual is None
    assert media.listened
    assert "cover" in media.notes[0]


def test_the_main_track_of_sound_is_taken_or_the_one_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    write_tracks(path, [(tone(2)[None], 0, "mono"), (np.tile(tone(2), (2, 1)), 0, "stereo")], picture_from=0)
    assert [track.channels for track in examine(path).audio] == [1, 2]
    for number in (0, 1):
        listened = examine(path, audio_track=number).listened
        assert listened
        assert listened.channels == number + 1
    assert "has 2, counted from 0" in refusal(path, audio_track=2)


def test_a_track_of_sound_that_is_asked_for_may_be_absent_with_all_others(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", counting(50), 25, None)
    assert examine(tmp_path / "x.mp4", audio_track=1).listened is None


def test_subtitles_alone_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "x.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nHello\n")
    assert "no track of either" in refusal(tmp_path / "x.srt")


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.gif", "x.webp", "x.bmp"])
@pytest.mark.parametrize("called", ["", ".mp4"])
def test_a_still_picture_is_no_video(tmp_path: Path, name: str, called: str) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / name)
    assert "is a still picture" in refusal((tmp_path / name).rename(tmp_path / f"{name}{called}"))


@pytest.mark.parametrize("name", ["x.avif", "x.pdf", "x.mp4"])
def test_one_picture_without_sound_is_no_video(tmp_path: Path, name: str) -> None:
    if name == "x.mp4":
        write_video(tmp_path / name, counting(1), 25, None)
    else:
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    assert "holds one picture and no sound" in refusal(tmp_path / name)


def test_two_pictures_or_one_with_sound_are_a_video(tmp_path: Path) -> None:
    for kind, count, sound in (("mp4", 2, None), ("mkv", 2, None), ("h264", 2, None), ("mp4", 1, tone(1))):
        write_video(tmp_path / f"x.{kind}", counting(count), 25, sound)
        assert examine(tmp_path / f"x.{kind}").visual


def test_a_file_is_examined_once_while_it_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr("shards.extract.media.opened", lambda *given: looked.append(given) or opened(*given))
    usual(tmp_path / "x.mp4")
    assert examine(tmp_path / "x.mp4") == examine(tmp_path / "x.mp4")
    assert len(looked) == 1
    usual(tmp_path / "x.mp4", 2)
    assert examine(tmp_path / "x.mp4").seconds == pytest.approx(2)


def test_a_picture_that_moves_is_a_video(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (40, 30), (10 * number, 0, 0)) for number in range(20)]
    for name in ("x.gif", "x.png"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=100)
        assert examine(tmp_path / name).seconds == pytest.approx(2, abs=0.01)


def test_a_video_without_a_length_is_refused(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
    assert "must have a length of at most 100 hours" in refusal(tmp_path / "x.wav")


@pytest.mark.parametrize("code", [b"zzz1", b"evc1"])
def test_a_codec_that_ffmpeg_lacks_is_refused(tmp_path: Path, clip: Path, code: bytes) -> None:
    def rename(content: bytes) -> bytes:
        place = content.rindex(b"avc1")
        return content[:place] + code + content[place + 4 :]

    sentence = refusal(changed(clip, tmp_path / "x.mp4", rename))
    assert "the pictures" in sentence
    assert av.ffmpeg_version_info in sentence


def test_a_second_track_of_sound_in_an_unknown_codec_does_no_harm(tmp_path: Path) -> None:
    write_tracks(tmp_path / "x.mp4", [(tone(2)[None], 0, "mono"), (tone(2)[None], 0, "mono")], picture_from=0)

    def rename(content: bytes) -> bytes:
        place = content.rindex(b"mp4a")
        return content[:place] + b"zzzz" + content[place + 4 :].replace(b"esds", b"free", 1)

    media = examine(changed(tmp_path / "x.mp4", tmp_path / "y.mp4", rename))
    assert [track.rate for track in media.audio] == [48000, 0]
    assert media.listened == media.audio[0]
    assert "the sound" in refusal(tmp_path / "y.mp4", audio_track=1)


def test_a_picture_larger_than_the_limit_is_refused_by_its_header(tmp_path: Path, clip: Path) -> None:
    assert f"have {WIDTH} × {HEIGHT}" in refusal(clip, max_pixels=WIDTH * HEIGHT - 1)
    assert examine(clip, max_pixels=WIDTH * HEIGHT).visual


def test_notes_say_what_is_missing(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", counting(25), 25, None)
    assert examine(tmp_path / "x.mp4").notes == ("It has no sound: nothing is heard.",)
