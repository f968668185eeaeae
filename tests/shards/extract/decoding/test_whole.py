"""The frames of a whole file in a row: one for each time, upright, with square pixels."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from shards.extract.decoding.whole import frames_in_row
from shards.extract.filming.encode import write_video
from shards.extract.media import examine
from tests.shards.extract.material import HEIGHT, LOSSLESS, WIDTH, counting, flat, tone, write_frames, write_tracks


def test_each_time_has_its_frame_in_one_pass_over_the_file(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mkv", counting(100), 4, None, codecs=LOSSLESS)
    images = list(frames_in_row(examine(tmp_path / "x.mkv"), 2))
    assert len(images) == 50
    levels = [np.asarray(image).mean() for image in images if image]
    np.testing.assert_allclose(levels, [2 * (2 * cell + 1) + 1 for cell in range(50)], atol=2)


def test_a_frame_that_stands_is_the_same_object(tmp_path: Path) -> None:
    write_frames(tmp_path / "x.mkv", [(flat(10), 0), (flat(90), 1000), (flat(170), 1250)])
    images = list(frames_in_row(examine(tmp_path / "x.mkv"), 4))
    assert images[0] is images[3]
    assert images[3] is not images[4]


def test_where_there_is_no_picture_there_is_none(tmp_path: Path) -> None:
    write_tracks(tmp_path / "x.mp4", [(tone(6)[None], 0, "mono")], picture_from=1.5)
    images = list(frames_in_row(examine(tmp_path / "x.mp4"), 2))
    assert [image is None for image in images[:4]] == [True, True, True, False]
    assert images[-1] is None
    write_video(tmp_path / "y.wav", None, 25, tone(2), codecs=LOSSLESS.__class__("", "pcm_s16le", ()))
    assert list(frames_in_row(examine(tmp_path / "y.wav"), 2)) == [None] * 4


@pytest.mark.parametrize(("degrees", "size"), [(0, (2 * WIDTH, HEIGHT)), (90, (HEIGHT, 2 * WIDTH))])
def test_pixels_become_square_and_the_picture_upright(tmp_path: Path, degrees: int, size: tuple[int, int]) -> None:
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        if degrees:
            stream.set_display_rotation(degrees)
        for frame in counting(25):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    media = examine(tmp_path / "x.mp4")
    assert media.visual
    assert media.visual.pixel == 2
    image = next(frames_in_row(media, 4))
    assert image
    assert image.size == size
