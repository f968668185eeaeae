"""What a page plays: a copy inside it, the file itself where a copy would be too much, or nothing and why."""

from base64 import b64decode
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from finetune.page.playing import PageSettings, played_of

av = pytest.importorskip("av", reason="PyAV, which reads video files, is not installed")
MANY = 1 << 26


@pytest.fixture
def file(tmp_path: Path) -> Path:
    from shards.extract.filming.encode import write_video

    (tmp_path / "in").mkdir()
    path = tmp_path / "in/50% größe #1?.mp4"
    write_video(
        path, (np.full((48, 64, 3), 8 * n, np.uint8) for n in range(20)), 10, np.zeros(32000, np.float32), 16000
    )
    return path


def test_a_short_file_is_copied_into_the_page(file: Path, tmp_path: Path) -> None:
    played = played_of(file, tmp_path / "out/videos/x", PageSettings(), MANY)
    assert played.kind == "embedded"
    assert file.name in played.note
    kind, _, content = played.source.partition(",")
    assert kind == "data:video/mp4;base64"
    (tmp_path / "copy.mp4").write_bytes(b64decode(content))
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert {stream.codec_context.name for stream in copy.streams} == {"h264", "aac"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [(PageSettings(seconds=1.5), "longer than 1.5 seconds"), (PageSettings(mebibytes=0.001), "more than 0.001 MiB")],
)
def test_a_long_or_a_heavy_one_is_linked_from_where_the_page_will_lie(
    file: Path, tmp_path: Path, settings: PageSettings, said: str
) -> None:
    folder = tmp_path / "out/videos/x"
    played = played_of(file, folder, settings, MANY)
    assert played.kind == "linked"
    assert said in played.note
    assert played.source == "../../../in/50%25%20gr%C3%B6%C3%9Fe%20%231%3F.mp4"
    assert (folder / unquote(played.source)).resolve() == file


def test_what_cannot_be_copied_is_not_played_and_the_page_says_why(file: Path, tmp_path: Path) -> None:
    (tmp_path / "none.mp4").write_text("no video")
    for path, said in ((tmp_path / "none.mp4", "FFmpeg finds none in it"), (tmp_path / "gone.mp4", "must be readable")):
        played = played_of(path, tmp_path, PageSettings(), MANY)
        assert (played.kind, played.source) == ("none", "")
        assert said in played.note
    assert "1,000 pixels" in played_of(file, tmp_path, PageSettings(), 1000).note
