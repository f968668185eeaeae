"""A file of three hours: a clip near its end is sought, and takes the memory of a clip."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from shards.extract.clips import cut
from shards.extract.container import MAX_PIXELS
from shards.extract.decoding.tracks import pieces
from shards.extract.media import examine
from tests.shards.extract.material import HEIGHT, WIDTH, counting, tone

HOURS = 3
RATE = 8000
PART = 10
"""Seconds that are encoded once, and repeated."""

MEASURE = """
import resource, sys
from pathlib import Path
from shards.extract.clips import Clip
from shards.extract.decoding import Decoded, Picture, Wanted
from shards.extract.decoding.pyav import PyAV

def decode(start):
    (got,) = PyAV().decode(Path(sys.argv[1]), [Clip(f"x_{start}_{start + 10}", start, start + 10)], WANTED)
    assert isinstance(got, Decoded), got
    assert got.present.all(), got.present

WANTED = Wanted((Picture(32),), (16000,))
decode(0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode(10_780)
decode(5_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours of the same ten seconds: packets are copied, nothing is encoded twice."""
    path = tmp_path_factory.mktemp("long") / "x.mp4"
    with av.open(str(path), "w") as container:
        visual = container.add_stream("libx264", rate=1, options={"bf": "0", "g": str(PART)})
        visual.height, visual.width, visual.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        audio = container.add_stream("flac", rate=RATE, layout="mono", options={"frame_size": str(RATE)})
        pictures = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in counting(PART)]
        packets = [packet for picture in [*pictures, None] for packet in visual.encode(picture)]
        sound = (tone(PART, rate=RATE) * 2**15).astype(np.int16)
        for second in range(PART):
            frame = av.AudioFrame.from_ndarray(sound[None, second * RATE :][:, :RATE], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, second * RATE, Fraction(1, RATE)
            packets += audio.encode(frame)
        packets = sorted([*packets, *audio.encode(None)], key=lambda packet: packet.dts * packet.time_base)
        written = [
            (bytes(each), each.stream, each.dts * each.time_base, each.is_keyframe) for each in packets if each.size
        ]
        for part in range(HOURS * 3600 // PART):
            for content, stream, time, key in written:
                packet = av.Packet(content)
                packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, RATE), key
                packet.pts = packet.dts = int((time + part * PART) * RATE)
                packet.duration = RATE
                container.mux(packet)
    return path


def test_it_is_cut_into_all_its_clips(long: Path) -> None:
    media = examine(long)
    assert media.seconds == pytest.approx(HOURS * 3600, abs=0.1)
    assert len(cut("x", media.seconds).clips) == HOURS * 360


def test_a_clip_near_the_end_is_sought_and_not_reached_by_decoding(long: Path) -> None:
    media = examine(long)
    for track in (media.visual, media.listened):
        assert track
        first = next(pieces(media, track, 10_785.0, MAX_PIXELS))
        assert 10_785 - 2 * PART <= first.time <= 10_785


def test_a_clip_near_the_end_takes_the_memory_of_a_clip(long: Path) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, str(long)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 30_000  # KiB: the index of three hours, and a clip
