"""How much memory a piece of work takes, and a file that would take much."""

import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av

from tests.shards.extract.material import HEIGHT, WIDTH, counting

_MEASURED = """
import re, sys

def most():  # getrusage would tell the most of the process that started this one
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1]) / 1024

{before}
start = most()
{work}
print(most() - start)
"""


def taken(before: str, work: str, *words: object) -> float:
    """MiB by which a process grows at most while it does the work; `sys.argv[1:]` of both pieces are the words."""
    code = _MEASURED.format(before=before, work=work)
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def write_bomb(path: Path, side: int) -> Path:
    """Two seconds, an AVI of twenty PNGs, of which the last four are larger than its header says."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "rgb24"
        for number, array in enumerate(counting(20)):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            for encoded in stream.encode(frame):
                packet = av.Packet(bytes(encoded) if number < 16 else _large(side))
                packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 10), True
                packet.pts = packet.dts = number
                container.mux(packet)
    return path


def _large(side: int) -> bytes:
    """A PNG of few kilobytes, and of three bytes a pixel once it is decoded."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(side * (1 + 3 * side)), 1)), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
