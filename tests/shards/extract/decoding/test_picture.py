"""Pictures are resized as torchvision does it with Pillow's pictures, and turned as their display matrix says."""

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from shards.extract.decoding import Picture
from shards.extract.decoding.picture import FILTER, STRIP, mirrored, resized, turned, upright
from tests.shards.extract.material import write_frames


def by_the_book(image: Image.Image, wanted: Picture) -> np.ndarray:
    """Resize(shorter) and CenterCrop(size) as torchvision documents them, one after the other."""
    wide, high = image.size
    shorter = wanted.shorter or 0
    long = int(shorter * max(wide, high) / min(wide, high))
    size = (shorter, long) if wide <= high else (long, shorter)
    image = image.resize(size, FILTER)
    left, top = round((size[0] - wanted.size) / 2), round((size[1] - wanted.size) / 2)
    return np.asarray(image.crop((left, top, left + wanted.size, top + wanted.size)))


def noise(wide: int, high: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (high, wide, 3), dtype=np.uint8))


@given(st.integers(8, 150), st.integers(8, 150), st.sampled_from([(24, 24), (24, 27), (16, 33)]))
@settings(deadline=None, max_examples=30)
def test_the_shorter_side_is_resized_and_the_middle_cut_out(wide: int, high: int, sizes: tuple[int, int]) -> None:
    wanted = Picture(*sizes)
    assert wanted.shorter
    image = noise(wide, high)
    assume(int(wanted.shorter * max(wide, high) / min(wide, high)) <= STRIP * wanted.shorter)
    assert np.array_equal(resized(image, wanted), by_the_book(image, wanted))


@pytest.mark.parametrize("size", [(900, 8), (8, 900)])
def test_of_a_strip_the_middle_is_the_same_to_rounding(size: tuple[int, int]) -> None:
    image, wanted = noise(*size), Picture(24, 27)
    difference = abs(resized(image, wanted).astype(int) - by_the_book(image, wanted))
    assert difference.max() <= 3
    assert difference.mean() < 0.5


def test_without_a_shorter_side_the_whole_picture_is_stretched() -> None:
    image = noise(70, 31)
    got = resized(image, Picture(24))
    assert np.array_equal(got, np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR)))


def test_a_strip_of_a_picture_takes_no_more_memory_than_any_other() -> None:
    assert resized(Image.new("RGB", (60_000, 4)), Picture(224, 256)).shape == (224, 224, 3)


LEFT_TOP = {
    (0, False): "red green / blue black",
    (90, False): "green black / red blue",
    (180, False): "black blue / green red",
    (270, False): "blue red / black green",
    (0, True): "green red / black blue",
    (90, True): "black green / blue red",
    (180, True): "blue black / red green",
    (270, True): "red blue / green black",
}
"""How the quarters of a picture lie once it was mirrored (where so), and then turned counterclockwise."""


@pytest.mark.parametrize("turn", LEFT_TOP)
def test_a_picture_is_turned_and_mirrored_as_its_file_says(tmp_path: Path, turn: tuple[int, bool]) -> None:
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:16, :32, 0], stored[:16, 32:, 1], stored[16:, :32, 2] = 250, 250, 250
    write_frames(tmp_path / "x.mp4", [(stored, 0), (stored, 40)], turned=turn)
    with av.open(str(tmp_path / "x.mp4")) as container:
        frame = next(container.decode(video=0))
    image = upright(frame)
    assert image.size == ((32, 64) if turn[0] in (90, 270) else (64, 32))
    assert turned(frame) == (turn[0] in (90, 270))
    assert mirrored(frame) == turn[1]
    quarters = np.asarray(image.resize((2, 2), Image.Resampling.BOX)) > 120
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (0, 0, 0): "black"}
    rows = [" ".join(names[tuple(map(int, quarter))] for quarter in row) for row in quarters]
    assert " / ".join(rows) == LEFT_TOP[turn]


FORMATS = [
    ("libx264", "yuv444p"), ("libx264", "yuv422p10le"), ("ffv1", "gray"), ("ffv1", "bgra"), ("ffv1", "yuv410p"),
    ("ffv1", "rgb48le"), ("rawvideo", "uyvy422"),
]  # fmt: skip
ODD = [(codec, pixels, 47, 63) for codec, pixels in FORMATS if pixels not in ("yuv422p10le", "uyvy422")]


@pytest.mark.parametrize(("codec", "pixels", "height", "width"), [*((*each, 48, 64) for each in FORMATS), *ODD])
def test_any_pixel_format_and_odd_size_gives_the_colours(
    tmp_path: Path, codec: str, pixels: str, height: int, width: int
) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:] = (200, 80, 40)
    write_frames(tmp_path / "x.mkv", [(picture, 0), (picture, 40)], codec=codec, pixels=pixels)
    with av.open(str(tmp_path / "x.mkv")) as container:
        got = np.asarray(upright(next(container.decode(video=0)))).reshape(-1, 3).mean(axis=0)
    grey = [0.299 * 200 + 0.587 * 80 + 0.114 * 40] * 3
    assert np.abs(got - (grey if pixels == "gray" else (200, 80, 40))).max() < 4


@pytest.mark.parametrize(("matrix", "number"), [("ITU709", 1), ("ITU601", 5)])
@pytest.mark.parametrize("span", [1, 2])
def test_colours_are_those_of_the_matrix_and_the_range_that_the_file_names(
    tmp_path: Path, matrix: str, number: int, span: int
) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[:] = (220, 30, 30)
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = number, span
        frame = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=matrix, dst_color_range=span
        )
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with av.open(str(tmp_path / "x.mp4")) as container:
        got = np.asarray(upright(next(container.decode(video=0)))).reshape(-1, 3).mean(axis=0)
    assert np.abs(got - (220, 30, 30)).max() < 6
