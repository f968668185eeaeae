"""The small copy of a file: codecs that every browser plays, its shape and its times, whatever the file is."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from shards.extract.decoding import BadClip
from shards.extract.decoding.opening import open_decoder
from shards.extract.filming.encode import write_video
from shards.extract.filming.preview import HIGHEST, RATE, WIDEST, size_of, write_preview
from shards.extract.media import examine
from tests.shards.extract.material import LOSSLESS, flash, tone


def copied(path: Path) -> Path:
    copy = path.with_name(f"copy of {path.stem}.mp4")
    write_preview(examine(path), open_decoder("pyav"), copy)
    return copy


def heard(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def seen(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The times of the frames, and how bright they are."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
    return np.array([time for time, _ in frames]), np.array([light for _, light in frames])


def test_a_tone_and_a_flash_are_where_they_are_in_the_file(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mkv", flash(12, 7, 9), 25, tone(12, 10.5, 11.5), codecs=LOSSLESS)
    copy = copied(tmp_path / "x.mkv")
    with av.open(str(copy)) as container:
        assert {stream.codec_context.name for stream in container.streams} == {"h264", "aac"}
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert float(container.duration or 0) / 1e6 == pytest.approx(12, abs=0.1)
    times, light = seen(copy)
    bright = times[light > 128]
    assert (bright.min(), bright.max()) == pytest.approx((7, 9), abs=0.11)
    loud = np.flatnonzero(np.abs(heard(copy)) > 0.1) / RATE
    assert (loud.min(), loud.max()) == pytest.approx((10.5, 11.5), abs=0.1)


@pytest.mark.parametrize(
    ("size", "copy"),
    [
        ((64, 48), (64, 48)),
        ((1920, 1080), (854, 480)),
        ((720, 1280), (270, 480)),
        ((4000, 100), (854, 22)),
        ((5, 3), (6, 4)),
    ],
)
def test_a_copy_keeps_the_shape_and_has_even_sides(size: tuple[int, int], copy: tuple[int, int]) -> None:
    found = size_of(Image.new("RGB", size))
    assert abs(found[0] - copy[0]) <= 2
    assert abs(found[1] - copy[1]) <= 2
    assert found[0] % 2 == found[1] % 2 == 0
    assert found[0] <= WIDEST + 1
    assert found[1] <= HIGHEST


def test_sound_alone_and_a_picture_alone_are_copied_alone(tmp_path: Path) -> None:
    write_video(tmp_path / "sound.mkv", None, sound=tone(1.5), codecs=LOSSLESS)
    write_video(tmp_path / "picture.mkv", flash(1.5, 0, 1), 25, codecs=LOSSLESS)
    for name, kinds in (("sound", ["audio"]), ("picture", ["video"])):
        with av.open(str(copied(tmp_path / f"{name}.mkv"))) as container:
            assert [stream.type for stream in container.streams] == kinds


def test_pictures_that_begin_late_stand_behind_black(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        sound, picture = (
            container.add_stream("pcm_s16le", rate=16000, layout="mono"),
            container.add_stream("ffv1", rate=10),
        )
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        for number in range(10, 30):
            shown = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 230, np.uint8), format="rgb24")
            shown.pts = number
            container.mux(picture.encode(shown))
        container.mux(picture.encode(None))
    times, light = seen(copied(path))
    assert times[light > 128].min() == pytest.approx(1.0, abs=0.06)
    assert light[times < 0.9].max() < 30


def test_a_file_of_nothing_but_damage_has_no_copy(tmp_path: Path) -> None:
    write_video(tmp_path / "x.wav", None, sound=tone(1), codecs=LOSSLESS)
    media = examine(tmp_path / "x.wav")
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(BadClip):
        write_preview(media, open_decoder("pyav"), tmp_path / "copy.mp4")
