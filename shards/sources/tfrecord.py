"""AudioSet's official release of VGGish features: TFRecord files of SequenceExample messages, without TensorFlow.

A record holds `video_id`, `start_time_seconds` and `end_time_seconds`, and one string of 128 bytes a second: VGGish
embeddings after PCA and whitening, cut to [-2, 2] and quantised to 8 bits. Here they are values again, x·4/255 − 2.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from jaxtyping import Float

from launch.progress import track
from launch.refusal import Refusal
from shards.schema import SECONDS, Feature, check_key
from shards.sources import BadVideo, Place, Source, Stamp, find_files, stamp_of
from shards.sources.arrays import DEQUANTISED, VGGISH, WIDTHS

SUFFIX = ".tfrecord"
EMBEDDING = "audio_embedding"
ORIGIN = "AudioSet's TFRecord release of VGGish: PCA'd, whitened, 8 bits a value, dequantised as x*4/255-2"
_FRAME = 4
"""Bytes of a checksum; a record is length (8), its checksum, payload, its checksum."""
_MASK = 0xA282EAD8


@dataclass(frozen=True)
class Records:
    """A release's files; a place is the file's number, the record's first byte, and its number in the file."""

    files: tuple[Path, ...]
    stamps: tuple[Stamp, ...]
    """The state of each file."""
    feature: Feature
    folder: str

    def where(self, name: str) -> str:
        """The record's name; which file would hold it nobody knows."""
        return f"{self.folder}/**/*{SUFFIX}: {name}"

    def stamp(self, name: str, place: Place) -> tuple[object, ...]:
        """The state of the file when it was listed, and the place in it."""
        return self.stamps[place[0]], *place[1:]

    def read(self, name: str, place: Place, seconds: int = SECONDS) -> Float[np.ndarray, "second width"]:
        """A video's feature; BadVideo unless it has 128 bytes for each of its seconds, or of ten, and Refusal for a
        record that is damaged."""
        number, offset, record = place
        path = self.files[number]
        with path.open("rb") as file:
            file.seek(offset)
            payload = _read_record(file, path, record, path.stat().st_size)
        if payload is None:
            raise _damaged(path, record, "is gone since the files were listed")
        rows = [
            each.bytes_list.value
            for each in _parse(payload, path, record).feature_lists.feature_list[EMBEDDING].feature
        ]
        return _values(rows, name, _at(path, record), seconds)


def open_records(patterns: Sequence[str], dtype: str) -> Source:
    """The release in folders or globs of .tfrecord files; reads every record once, to learn its key and check it.

    Raises Refusal, naming file and record, for a file that is cut or damaged, a record that is no SequenceExample of
    the release, and a key that comes twice.
    """
    files = find_files(patterns, SUFFIX)
    stamps = tuple(map(stamp_of, files))
    places: dict[str, Place] = {}
    for number, path in enumerate(track(files, "list TFRecords", unit="files")):
        for record, (offset, payload) in enumerate(_records(path)):
            key = _key(payload, path, record)
            if key in places:
                first = _at(files[places[key][0]], places[key][2])
                raise Refusal(
                    f"A key must be unique, but {_at(path, record)} and {first} are both '{key}': leave one file out."
                )
            places[key] = number, offset, record
    if not places:
        raise Refusal(f"TFRecord files must hold records, but '{files[0]}' and all others are empty: fetch them again.")
    feature = Feature(VGGISH, WIDTHS[VGGISH], DEQUANTISED, ORIGIN, dtype)
    names = sorted({path.parent.resolve().name for path in files})
    told = {"kind": "AudioSet TFRecords", "name": ", ".join(names), "files": len(files), "videos": len(places)}
    return Source(Records(tuple(files), stamps, feature, str(files[0].parent)), dict(sorted(places.items())), told)


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    """The first byte and the payload of each record of a file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        record = 0
        while True:
            offset = file.tell()
            payload = _read_record(file, path, record, size)
            if payload is None:
                return
            yield offset, payload
            record += 1


def _read_record(file: BinaryIO, path: Path, record: int, size: int) -> bytes | None:
    """The payload of the record that starts here, its checksums checked; None at the end of the file."""
    head = file.read(8 + _FRAME)
    if not head:
        return None
    if len(head) < 8 + _FRAME:
        raise _damaged(path, record, "is cut inside its length")
    _check_sum(head[:8], head[8:], path, record, "its length")
    (length,) = struct.unpack("<Q", head[:8])
    if file.tell() + length + _FRAME > size:
        raise _damaged(path, record, f"is cut: {length} bytes were written")
    payload = file.read(length)
    _check_sum(payload, file.read(_FRAME), path, record, "its contents")
    return payload


def _check_sum(content: bytes, stored: bytes, path: Path, record: int, what: str) -> None:
    """A record's checksum is the CRC32C, rotated by 15 bits, plus a constant."""
    value = google_crc32c.value(content)
    masked = (((value >> 15) | (value << 17)) + _MASK) & 0xFFFFFFFF
    if struct.pack("<I", masked) != stored:
        raise _damaged(path, record, f"does not have the checksum of {what}")


def _damaged(path: Path, record: int, found: str) -> Refusal:
    return Refusal(
        f"TFRecord files must be whole and not compressed, but {_at(path, record)} {found}: fetch the file again."
    )


def _key(payload: bytes, path: Path, record: int) -> str:
    """`<video_id>_<start>_<end>`, whole seconds without decimals, as AudioSet's own tables have it."""
    context = _parse(payload, path, record).context.feature
    identity = context["video_id"].bytes_list.value
    times = [context[name].float_list.value for name in ("start_time_seconds", "end_time_seconds")]
    if len(identity) != 1 or any(len(each) != 1 for each in times):
        raise Refusal(
            "A record must name video_id, start_time_seconds and end_time_seconds once, as AudioSet's release does, "
            f"but {_at(path, record)} does not: leave the file out."
        )
    start, end = times[0][0], times[1][0]
    if not (math.isfinite(end) and 0 <= start < end):
        raise Refusal(
            f"A video must start before it ends, but {_at(path, record)} has {start} and {end}: leave it out."
        )
    key = f"{identity[0].decode(errors='replace')}_{_seconds(start)}_{_seconds(end)}"
    check_key(key, _at(path, record))
    return key


def _seconds(value: float) -> str:
    """The shortest number that is this float32: 30, 101.8."""
    return np.format_float_positional(np.float32(value), trim="-")


def _values(rows: Sequence[Sequence[bytes]], name: str, place: str, seconds: int) -> Float[np.ndarray, "second width"]:
    width = WIDTHS[VGGISH]
    wrong = next((second for second, row in enumerate(rows) if len(row) != 1 or len(row[0]) != width), None)
    if wrong is not None:
        found = len(rows[wrong][0]) if len(rows[wrong]) == 1 else f"{len(rows[wrong])} strings instead of one of"
        raise BadVideo(
            f"A second must have {width} bytes, but '{name}' ({place}) has {found} at {wrong}: leave it out."
        )
    if len(rows) not in (seconds, SECONDS):
        remedy = (
            "it is a shorter clip, leave it out (--on_bad skip)"
            if len(rows) < seconds
            else "cut it into clips of that length"
        )
        raise BadVideo(f"A video must have {seconds} seconds, but '{name}' ({place}) has {len(rows)}: {remedy}.")
    codes = np.frombuffer(b"".join(row[0] for row in rows[:seconds]), np.uint8).reshape(seconds, width)
    values = np.zeros((SECONDS, width), np.float32)
    values[:seconds] = codes.astype(np.float32) * np.float32(4 / 255) - np.float32(2)
    return values


def _at(path: Path, record: int) -> str:
    return f"record {record} of '{path}'"


def _parse(payload: bytes, path: Path, record: int) -> Any:
    try:
        return _message()().FromString(payload)
    except DecodeError as error:
        raise Refusal(
            f"A record must be a SequenceExample, but {_at(path, record)} is not ({error}): leave the file out."
        ) from None


@cache
def _message() -> Any:
    """The class of SequenceExample messages: the part of TensorFlow's format that the release uses, field by field."""
    file = descriptor_pb2.FileDescriptorProto(name="sequence_example.proto", package="soundsight", syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto
    _add(file.message_type, "BytesList", ("value", 1, kind.TYPE_BYTES, True))
    _add(file.message_type, "FloatList", ("value", 1, kind.TYPE_FLOAT, True))
    _add(file.message_type, "Feature", ("bytes_list", 1, "BytesList", False), ("float_list", 2, "FloatList", False))
    _add(file.message_type, "FeatureList", ("feature", 1, "Feature", True))
    for owner, field, value in (("Features", "feature", "Feature"), ("FeatureLists", "feature_list", "FeatureList")):
        entry = "".join(word.capitalize() for word in field.split("_")) + "Entry"
        holder = _add(file.message_type, owner, (field, 1, f"{owner}.{entry}", True))
        nested = _add(holder.nested_type, entry, ("key", 1, kind.TYPE_STRING, False), ("value", 2, value, False))
        nested.options.map_entry = True
    _add(
        file.message_type,
        "SequenceExample",
        ("context", 1, "Features", False),
        ("feature_lists", 2, "FeatureLists", False),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("soundsight.SequenceExample"))


def _add(messages: Any, name: str, *fields: tuple[str, int, Any, bool]) -> Any:
    """Adds a message type; a field is its name, number, type (or the message's name) and whether it repeats."""
    message = messages.add(name=name)
    for field, number, kind, repeats in fields:
        made = message.field.add(name=field, number=number, label=3 if repeats else 1)
        if isinstance(kind, str):
            made.type, made.type_name = made.TYPE_MESSAGE, f".soundsight.{kind}"
        else:
            made.type = kind
    return message
