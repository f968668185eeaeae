"""Video files for the tests of decoding, made on the spot: what is seen and heard in them, and what is odd in them."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from shards.extract.filming.encode import Codecs, write_video

RATE = 48000
HEIGHT, WIDTH = 48, 64
BRIGHT, DARK = 230, 20
LOSSLESS = Codecs("ffv1", "pcm_s16le", ())
"""For Matroska: what is decoded is what was given."""


def tone(seconds: float, from_: float = 0.0, until: float | None = None, rate: int = RATE, pitch: float = 440):
    """A tone from second to second, silence around it."""
    times = np.arange(round(seconds * rate)) / rate
    heard = (times >= from_) & (times < (seconds if until is None else until))
    return (0.4 * np.sin(2 * np.pi * pitch * times) * heard).astype(np.float32)


def flat(level: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A grey picture."""
    return np.full((height, width, 3), level, np.uint8)


def flash(seconds: float, from_: float, until: float, rate: int = 25) -> Iterator[np.ndarray]:
    """Dark frames, bright ones from second to second."""
    return (flat(BRIGHT if from_ <= n / rate < until else DARK) for n in range(round(seconds * rate)))


def counting(count: int, height: int = HEIGHT, width: int = WIDTH) -> Iterator[np.ndarray]:
    """Frames that tell their number by their grey: 2 × number + 1, up to 120 of them."""
    return (flat(2 * number + 1, height, width) for number in range(count))


def busy(count: int, height: int = HEIGHT, width: int = WIDTH) -> Iterator[np.ndarray]:
    """Frames that change everywhere, so that a file of them has bytes to be damaged."""
    random = np.random.default_rng(0)
    for _ in range(count):
        yield np.kron(random.integers(0, 255, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def write_frames(
    path: Path,
    frames: Iterable[tuple[np.ndarray, int]],
    unit: Fraction = Fraction(1, 1000),
    codec: str = "libx264",
    turned: tuple[int, bool] = (0, False),
    pixels: str = "yuv420p",
) -> None:
    """Frames with their times, in units: of variable rate, turned or mirrored, of any pixel format."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "10"} if codec == "libx264" else {})
        stream.pix_fmt, stream.time_base, stream.codec_context.time_base = pixels, unit, unit
        degrees, mirrored = turned
        if degrees or mirrored:
            stream.set_display_rotation(degrees, hflip=mirrored)
        for number, (array, time) in enumerate(frames):
            if not number:
                stream.height, stream.width = array.shape[:2]
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = time, unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_tracks(
    path: Path, tracks: Iterable[tuple[np.ndarray, float, str]], picture_from: float | None = None
) -> None:
    """Tracks of sound (channels × samples, the second each begins at, its layout), beside 4 seconds of picture."""
    with av.open(str(path), "w") as container:
        sounds = [(container.add_stream("aac", rate=RATE, layout=layout), *rest) for *rest, layout in tracks]
        visual = None
        if picture_from is not None:
            visual = container.add_stream("libx264", rate=25)
            visual.height, visual.width, visual.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for stream, samples, start in sounds:
            for first in range(0, samples.shape[1], 1024):
                chunk = np.ascontiguousarray(samples[:, first : first + 1024], np.float32)
                frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout=stream.layout.name)
                frame.sample_rate, frame.pts, frame.time_base = RATE, first + round(start * RATE), Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        if visual is not None and picture_from is not None:
            for number, array in enumerate(counting(100)):
                shown = av.VideoFrame.from_ndarray(array, format="rgb24")
                shown.pts, shown.time_base = number + round(picture_from * 25), Fraction(1, 25)
                container.mux(visual.encode(shown))
            container.mux(visual.encode(None))


def copy(source: Path, path: Path, keep: Callable[[av.Packet], bool] = lambda packet: True, **options: str) -> Path:
    """The same packets in another container, or some of them."""
    with av.open(str(source)) as old, av.open(str(path), "w", options=options) as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None and keep(packet):
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    return path


def indexed_first(path: Path) -> Path:
    """The MP4 file with its index before the data, in place, so that it can be played when its end is missing."""
    again = copy(path, path.with_name(f"again {path.name}"), movflags="faststart")
    return again.replace(path)


def changed(source: Path, path: Path, change: Callable[[bytes], bytes]) -> Path:
    """The same file with other bytes."""
    path.write_bytes(change(source.read_bytes()))
    return path


def damaged(content: bytes, from_: float, until: float, each: int = 50) -> bytes:
    """With one byte in so many turned round, from one share of the file to another."""
    spoilt = bytearray(content)
    for place in range(int(len(spoilt) * from_), int(len(spoilt) * until), each):
        spoilt[place] ^= 0xFF
    return bytes(spoilt)


def usual(path: Path, seconds: int = 4) -> Path:
    """H.264 and AAC: a flash and a tone from second 1.48 to 2.52."""
    write_video(path, flash(seconds, 1.48, 2.52), 25, tone(seconds, 1.48, 2.52))
    return path
