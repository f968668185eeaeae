"""AudioSet's release is read to the value, at random, and every fault is named by file and record."""

import base64
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.refusal import Refusal
from shards.schema import Feature
from shards.sources import BadVideo, Source
from shards.sources.tfrecord import open_records
from tests.shards.foreign import crc32c, example, framed, write_tfrecord

CODES = np.random.default_rng(0).integers(0, 256, (10, 128), np.uint8)
WRITTEN_BY_ANOTHER_PROGRAM = zlib.decompress(
    base64.b85decode(
        "c-niy$^ZuKMNd<>^0=hAILb0pQuE_8Q-t`rc)7TB4dN4>43k|_-O{<_xP*#J5{pXWOEPm)<BL<1^Yc=Qg*b%RxL6n%J~(p8a0#U5rC^m+aN"
        "-i=V#`TPO3f)2VwYm&VrJ-M6#B@;^^S{+Ke03=Ge15xHz_qGB{MHw=oS}O8zWaUBUb|>!@vS|xI<(H79bpAF|YvPkdT1|2!|95EI>G<XJ7%s"
        "Au9$JARKaJU;)A*4+a(>9P(#i0lR2{_Q@v%%6!KF0|PU|d;`C-Y<y+@teK~saF_YBX5Jqy^GD14(K3Iu%pWcD2e!;_{<*~j04{7>2L"
    )
)
"""Two records by the Python package tfrecord 1.14.6: ten rows of 28·row, 127 times, and a 7."""


def open_one(folder: Path, *payloads: bytes) -> Source:
    write_tfrecord(folder / "00.tfrecord", payloads)
    return open_records((str(folder),), "float16")


def read(source: Source, key: str) -> np.ndarray:
    return source.reader.read(key, source.places[key])


def test_the_oracle_of_checksums_is_the_published_one() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_the_checksum_is_the_oracles(content: bytes) -> None:
    assert google_crc32c.value(content) == crc32c(content)


def test_a_file_of_another_program_is_read_to_the_value(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "-0.tfrecord").write_bytes(WRITTEN_BY_ANOTHER_PROGRAM)
    source = open_records((str(tmp_path),), "float16")
    assert list(source.places) == ["-0_aB1cDeFg_30_40", "AP0061o0Nvk_101.8_111.8"]
    expected = [[28 * row * 4 / 255 - 2] * 127 + [7 * 4 / 255 - 2] for row in range(10)]
    for key in source.places:
        np.testing.assert_allclose(read(source, key), expected, atol=1e-6)
    assert source.told == {"kind": "AudioSet TFRecords", "name": "eval", "files": 1, "videos": 2}


def test_codes_become_values_between_minus_two_and_two(tmp_path: Path) -> None:
    codes = np.zeros((10, 128), np.uint8)
    codes[3, 4], codes[9] = 255, 51
    values = read(open_one(tmp_path, example("abc", 0.0, 10.0, codes)), "abc_0_10")
    assert values.dtype == np.float32
    assert values.shape == (10, 128)
    assert values[3, 4] == pytest.approx(2.0, abs=1e-6)
    assert values[9] == pytest.approx(np.full(128, -1.2), abs=1e-6)
    assert values[0, 0] == -2.0


def test_the_feature_says_that_it_is_the_dequantised_variant(tmp_path: Path) -> None:
    feature = open_one(tmp_path, example("abc", 0.0, 10.0, CODES)).reader.feature
    assert feature == Feature("vggish", 128, "dequantised", feature.source, "float16")
    assert "PCA'd, whitened, 8 bits" in feature.source


def test_any_record_of_any_file_is_read_by_its_place_in_any_process(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    codes = {f"video{number}": generator.integers(0, 256, (10, 128), np.uint8) for number in range(30)}
    for part in range(3):
        rows = [example(name, 0.0, 10.0, codes[name], range(part)) for name in list(codes)[part::3]]
        write_tfrecord(tmp_path / f"train/{part}.tfrecord", rows)
    source = open_records((str(tmp_path / "train" / "*.tfrecord"),), "float16")
    reader = pickle.loads(pickle.dumps(source.reader))
    for number in generator.permutation(30):
        found = reader.read(f"video{number}_0_10", source.places[f"video{number}_0_10"])
        np.testing.assert_allclose(found, codes[f"video{number}"] * (4 / 255) - 2, atol=1e-6)


def test_the_state_of_a_record_is_that_of_its_file_and_its_place_in_it(tmp_path: Path) -> None:
    source = open_one(tmp_path, example("abc", 0.0, 10.0, CODES), example("def", 0.0, 10.0, CODES))
    status = (tmp_path / "00.tfrecord").stat()
    stamps = [source.reader.stamp(key, place) for key, place in source.places.items()]
    assert [stamp[0] for stamp in stamps] == [("00.tfrecord", status.st_size, status.st_mtime_ns)] * 2
    assert stamps[0] != stamps[1]


@pytest.mark.parametrize(
    ("start", "end", "key"),
    [(30.0, 40.0, "abc_30_40"), (101.8, 111.8, "abc_101.8_111.8"), (0.0, 9.5, "abc_0_9.5"), (50.0, 60.0, "abc_50_60")],
)  # fmt: skip
def test_a_key_has_whole_seconds_without_decimals(tmp_path: Path, start: float, end: float, key: str) -> None:
    assert list(open_one(tmp_path, example("abc", start, end, CODES)).places) == [key]


@pytest.mark.parametrize(
    ("rows", "remedy"), [(0, "shorter clip"), (8, "shorter clip"), (9, "shorter clip"), (11, "cut it into clips")]
)
def test_another_number_of_seconds_is_a_bad_video(tmp_path: Path, rows: int, remedy: str) -> None:
    codes = np.resize(CODES, (rows, 128))
    source = open_one(tmp_path, example("good", 0.0, 10.0, CODES), example("abc", 0.0, 10.0, codes))
    with pytest.raises(BadVideo, match=rf"'abc_0_10' \(record 1 of '.*00\.tfrecord'\) has {rows}: .*{remedy}"):
        read(source, "abc_0_10")
    assert read(source, "good_0_10").shape == (10, 128)


def test_a_second_of_another_width_is_a_bad_video(tmp_path: Path) -> None:
    source = open_one(tmp_path, example("abc", 0.0, 10.0, CODES[:, :127]))
    with pytest.raises(BadVideo, match=r"128 bytes, but 'abc_0_10' \(record 0 of .*\) has 127 at 0"):
        read(source, "abc_0_10")


def _flip(at: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


WHOLE = framed(example("abc", 0.0, 10.0, CODES))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_flip(len(WHOLE)), "record 1 of '.*00.tfrecord' does not have the checksum of its length"),
        (_flip(len(WHOLE) + 9), "record 1 of '.*' does not have the checksum of its length"),
        (_flip(len(WHOLE) + 200), "record 1 of '.*' does not have the checksum of its contents"),
        (_flip(2 * len(WHOLE) - 1), "record 1 of '.*' does not have the checksum of its contents"),
        (lambda content: content[:-1], "record 1 of '.*' is cut: [0-9]+ bytes were written"),
        (lambda content: content[: len(WHOLE) + 12], "record 1 of '.*' is cut: "),
        (lambda content: content[: len(WHOLE) + 5], "record 1 of '.*' is cut inside its length"),
        (lambda content: content + b"\0", "record 2 of '.*' is cut inside its length"),
        (
            lambda content: zlib.compress(content, wbits=31),
            "record 0 of '.*' does not have .*not compressed|not compressed",
        ),
        (lambda content: content + framed(b"\xff\xff"), r"SequenceExample, but record 2 of '.*' is not"),
        (lambda content: content + framed(b""), r"video_id, .* once, .*but record 2 of '.*' does not"),
    ],
)
def test_damage_is_refused_with_file_and_record(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    whole = WHOLE + framed(example("def", 0.0, 10.0, CODES))
    (tmp_path / "00.tfrecord").write_bytes(damage(whole))
    with pytest.raises(Refusal, match=message) as refused:
        open_records((str(tmp_path),), "float16")
    assert not isinstance(refused.value, BadVideo)


def test_a_length_of_terabytes_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 42)
    head = length + framed(length)[20:24]  # the payload's checksum is that of the same bytes
    (tmp_path / "00.tfrecord").write_bytes(head + bytes(100))
    with pytest.raises(Refusal, match=r"record 0 of '.*' is cut: 4398046511104 bytes were written"):
        open_records((str(tmp_path),), "float16")


def test_damage_after_the_listing_is_an_error_and_no_bad_video(tmp_path: Path) -> None:
    source = open_one(tmp_path, example("abc", 0.0, 10.0, CODES))
    (tmp_path / "00.tfrecord").write_bytes(_flip(300)(WHOLE))
    with pytest.raises(Refusal, match=r"record 0 of '.*' does not have the checksum of its contents") as refused:
        read(source, "abc_0_10")
    assert not isinstance(refused.value, BadVideo)
    (tmp_path / "00.tfrecord").write_bytes(b"")
    with pytest.raises(Refusal, match=r"record 0 of '.*' is gone"):
        read(source, "abc_0_10")


def test_a_key_that_comes_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    for name in ("bal_train/ab", "unbal_train/ab"):
        write_tfrecord(
            tmp_path / f"{name}.tfrecord", [example(name[:1], 0.0, 10.0, CODES), example("x", 0.0, 10.0, CODES)]
        )
    with pytest.raises(Refusal, match=r"record 1 of '.*/unbal.*' and record 1 of '.*/bal.*' are both 'x_0_10'"):
        open_records((str(tmp_path),), "float16")


@pytest.mark.parametrize(
    ("identity", "start", "end", "message"),
    [
        ("a/b", 0.0, 10.0, r"holds '/' in record 0 of"),
        ("a\n", 0.0, 10.0, r"holds '\\n' in record 0 of"),
        ("abc", 10.0, 10.0, r"record 0 of '.*' has 10\.0 and 10\.0"),
        ("abc", -1.0, 10.0, r"record 0 of '.*' has -1\.0 and 10\.0"),
        ("abc", 0.0, float("inf"), r"record 0 of '.*' has 0\.0 and inf"),
        ("abc", float("nan"), 10.0, r"record 0 of '.*' has nan and 10\.0"),
    ],
)
def test_a_video_that_cannot_be_named_is_refused(
    tmp_path: Path, identity: str, start: float, end: float, message: str
) -> None:
    with pytest.raises(Refusal, match=message):
        open_one(tmp_path, example(identity, start, end, CODES))


def test_places_without_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"is no folder with \.tfrecord files, nor matches any"):
        open_records((str(tmp_path / "*.tfrecord"),), "float16")
    (tmp_path / "00.tfrecord").touch()
    with pytest.raises(Refusal, match=r"'.*00\.tfrecord' and all others are empty"):
        open_records((str(tmp_path),), "float16")
