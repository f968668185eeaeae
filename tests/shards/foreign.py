"""What other programs leave: TFRecord files and tars with arrays, written here byte by byte, without our own code."""

import io
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_TABLE = []
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = (_value >> 1) ^ (0x82F63B78 if _value & 1 else 0)
    _TABLE.append(_value)


def crc32c(data: bytes) -> int:
    """CRC-32 with Castagnoli's polynomial, bit by bit from its definition (RFC 3720): 123456789 gives e3069283."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def framed(payload: bytes) -> bytes:
    """A record of a TFRecord file: length, its masked checksum, payload, its masked checksum."""
    length = struct.pack("<Q", len(payload))
    return length + _masked(length) + payload + _masked(payload)


def _masked(data: bytes) -> bytes:
    value = crc32c(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) % 2**32)


def write_tfrecord(path: Path, payloads: Sequence[bytes]) -> Path:
    """A TFRecord file with these records; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(framed, payloads)))
    return path


def example(identity: str, start: float, end: float, codes: np.ndarray, labels: Sequence[int] = (0, 506)) -> bytes:
    """A SequenceExample as AudioSet's release has it, in protobuf's wire format (one row of `codes` a second)."""
    context = {
        "video_id": _field(1, _field(1, identity.encode())),
        "start_time_seconds": _field(2, _field(1, struct.pack("<f", start))),
        "end_time_seconds": _field(2, _field(1, struct.pack("<f", end))),
        "labels": _field(3, _field(1, b"".join(map(_varint, labels)))),
    }
    rows = b"".join(_field(1, _field(1, _field(1, row.tobytes()))) for row in codes)
    lists = _map({"audio_embedding": rows})
    return _field(1, _map(context)) + _field(2, lists)


def _map(entries: dict[str, bytes]) -> bytes:
    return b"".join(_field(1, _field(1, key.encode()) + _field(2, value)) for key, value in entries.items())


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Adds a plain file to a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def add_array(tar: tarfile.TarFile, name: str, array: np.ndarray, allow_pickle: bool = False) -> None:
    """Adds a .npy member to a tar."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    add_file(tar, name, stream.getvalue())
