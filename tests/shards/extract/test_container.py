"""A file is opened as a file alone, whatever its name, and what shows by its content no video is refused."""

import os
import socket
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from shards.extract.container import opened
from shards.extract.media import examine
from tests.shards.extract.material import changed, copy
from tests.shards.extract.refused import refusal


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b"This is a text about a video.\n" * 100, "FFmpeg finds none in it (Invalid data"),
        (bytes(10_000), "FFmpeg finds none in it"),
        (np.random.default_rng(0).bytes(10_000), "FFmpeg finds none in it"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nclip.ts\n#EXT-X-ENDLIST\n", "list of other files"),
        (b"ffconcat version 1.0\nfile clip.mp4\n", "list of other files"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n", "list of other"),
        (
            b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
            b'profiles="urn:mpeg:dash:profile:isoff-main:2011"></MPD>',
            "list of other files",
        ),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "txt", "m3u8"])
def test_what_is_no_video_by_itself_is_refused_by_one_sentence(
    tmp_path: Path, content: bytes, found: str, suffix: str, clip: Path
) -> None:
    copy(clip, tmp_path / "clip.ts")
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    sentence = refusal(path)
    assert found in sentence or (suffix == "txt" and "is text, a still picture" in sentence)


@pytest.mark.parametrize("name", ["x.sln", "x.g722", "x.al", "x.ub", "x.sw", "x.cdg", "x.yuv", "x.tga", "x.gsm"])
def test_a_file_is_not_taken_for_what_its_name_alone_says(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"This is a text about a video.\n" * 3000)
    sentence = refusal(tmp_path / name)
    assert "must show by its content what it is" in sentence
    assert "list" not in sentence


def test_no_format_makes_sound_or_pictures_of_a_text_by_the_files_name(tmp_path: Path) -> None:
    kinds = {end for name in av.formats_available for end in _endings(name)}
    assert len(kinds) > 100
    for kind in kinds:
        (tmp_path / f"x.{kind}").write_bytes(b"This is a text about a video.\n" * 3000)
        refusal(tmp_path / f"x.{kind}")


def _endings(name: str) -> set[str]:
    try:
        return av.ContainerFormat(name, "r").extensions
    except ValueError:
        return set()


def test_pictures_beyond_the_limit_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "x.y4m").write_bytes(b"YUV4MPEG2 W60000 H60000 F25:1 Ip A1:1 C420\nFRAME\n" + bytes(1000))
    assert "(pictures too large): it is something else, has pictures beyond --max_pixels" in refusal(tmp_path / "x.y4m")


def test_a_file_cut_off_before_its_index_is_refused(tmp_path: Path, clip: Path) -> None:
    cut_off = changed(clip, tmp_path / "x.mp4", lambda content: content[: len(content) // 2])
    assert "cut off before its index" in refusal(cut_off)


def test_a_file_that_is_gone_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.mp4")
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("folder.mp4", "pipe.mp4"):
        assert "must be a file" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    ["-x.mp4", "concat:a|b.mp4", "日本語 ü %03d.mp4", "http:example.mp4", "a\nb.mp4", "'\"$(x).mp4", "x y?#.mp4"],
)
def test_any_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path, name: str) -> None:
    (tmp_path / name).write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert examine(Path(name)).seconds == pytest.approx(4)


def test_a_name_that_is_no_unicode_is_a_name(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / b"\xff\xfe.mp4".decode("utf-8", "surrogateescape")
    path.write_bytes(clip.read_bytes())
    assert examine(path).seconds == pytest.approx(4)


def test_nothing_is_fetched_from_the_network_nor_from_another_file(tmp_path: Path, clip: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        for place in (f"http://127.0.0.1:{server.getsockname()[1]}/x.ts", str(copy(clip, tmp_path / "other.ts"))):
            for name in ("x.m3u8", "x.mp4"):
                (tmp_path / name).write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{place}\n#EXT-X-ENDLIST\n")
                assert "list of other files" in refusal(tmp_path / name)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_ffmpeg_is_told_the_limits(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = dict[str, Any]()
    monkeypatch.setattr(av, "open", lambda *_, **given: told.update(given["options"]))
    opened(clip, 1234)
    assert told["max_pixels"] == "1234"
    assert told["protocol_whitelist"] == "file"
    assert not {"hls", "concat", "image2", "tty", "rawvideo"} & set(told["format_whitelist"].split(","))
