"""Whatever is wrong with a set is one sentence that names shard, member and remedy; or a video is skipped, and told."""

import gzip
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from launch.refusal import Refusal
from shards.read import ReadSettings, Shards
from tests.shards.sets import FEATURES, KEYS, LINK, entry, member, overwrite, sealed, tar, write

NAMES = [feature.name for feature in FEATURES]
SKIP = ReadSettings(on_bad="skip")


def streamed(shards: Shards) -> object:
    """Reads the whole set in stored order."""
    return list(shards.stream())


def batched(shards: Shards) -> object:
    """Reads the whole set at random."""
    return shards.batch(range(len(shards)), NAMES)


READERS = pytest.mark.parametrize("read", [streamed, batched])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of five videos in shards of two, two and one."""
    write(tmp_path / "set")
    return tmp_path / "set"


def first(folder: Path) -> Path:
    return folder / "000000.tar"


def headers(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as file:
        return file.getmembers()


def truncate(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


def cut_in_a_header(path: Path) -> None:
    truncate(path, headers(path)[1].offset + 100)


def cut_between_samples(path: Path) -> None:
    truncate(path, headers(path)[1].offset)


def cut_in_a_member(path: Path) -> None:
    truncate(path, headers(path)[1].offset_data + 10)


def without_end_blocks(path: Path) -> None:
    last = headers(path)[1]
    truncate(path, last.offset_data + -(-last.size // 512) * 512)


def one_sample_more(path: Path) -> None:
    tar(path, [member(KEYS[0]), member(KEYS[1]), member("more_0_10")])


@READERS
@pytest.mark.parametrize("settings", [ReadSettings(), SKIP])
@pytest.mark.parametrize("damage", [cut_in_a_header, cut_between_samples, cut_in_a_member, without_end_blocks])
def test_a_tar_that_was_cut_is_told_by_its_size(
    folder: Path, read: Callable[[Shards], object], damage: Callable[[Path], None], settings: ReadSettings
) -> None:
    opened = Shards.open(folder, settings)  # before, and after, the cut
    damage(first(folder))
    for shards in (lambda: opened, lambda: Shards.open(folder, settings)):
        with pytest.raises(Refusal, match=r"000000.tar' has \d+ bytes instead of \d+: copy it again, or pack again"):
            read(shards())


@READERS
@pytest.mark.parametrize("settings", [ReadSettings(), SKIP])
def test_a_missing_shard_is_named(folder: Path, read: Callable[[Shards], object], settings: ReadSettings) -> None:
    opened = Shards.open(folder, settings)
    first(folder).unlink()
    for shards in (lambda: opened, lambda: Shards.open(folder, settings)):
        with pytest.raises(Refusal, match=r"000000.tar' is missing: copy it again, or pack again"):
            read(shards())


@READERS
@pytest.mark.parametrize("settings", [ReadSettings(), SKIP])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_in_a_header, "000000.tar' is cut inside the header at byte 1024"),
        (cut_between_samples, r"000000.tar' is cut at byte 1024: its closing blocks are missing"),
        (cut_in_a_member, r"000000.tar' ends inside member 'AP0061o0Nvk_101%2E8_111%2E8.safetensors'"),
        (without_end_blocks, "000000.tar' is cut at byte 2048: its closing blocks are missing"),
        (one_sample_more, "000000.tar' holds 3 instead of 2: copy it again, or pack again"),
        (lambda path: overwrite(path, 1024, b"\xff" * 512), "000000.tar' holds a damaged header.* at byte 1024"),
        (
            lambda path: tar(path, [member(KEYS[0]), ("x_0_10.pickle", b"")]),
            "000000.tar' holds 'x_0_10.pickle': pack again",
        ),
        (lambda path: tar(path, [member(KEYS[0]), entry("x.safetensors", LINK)]), "'x.safetensors' in .* is a link"),
        (lambda path: tar(path, [member(KEYS[0]), ("../x.safetensors", b"")]), "holds '../x.safetensors'"),
        (lambda path: tar(path, [member(KEYS[0])] * 2), "holds '-Ab_0_10.safetensors' twice"),
        (lambda path: tar(path, [member(KEYS[0]), member(KEYS[2])]), "'50%_1_11' is twice in '.*set'"),
        (lambda path: path.write_bytes(gzip.compress(path.read_bytes(), compresslevel=0)), "is compressed with gzip"),
        (
            lambda path: tar(path, [member(KEYS[0]), ("x_0_10.safetensors", b"\0" * (2 << 20))]),
            r"'x_0_10.safetensors' in .* has 2097152 bytes where \d+ are the most",
        ),
    ],
)
def test_a_container_that_was_written_badly_stops_every_reader(
    folder: Path,
    read: Callable[[Shards], object],
    damage: Callable[[Path], object],
    message: str,
    settings: ReadSettings,
) -> None:
    damage(first(folder))
    sealed(folder, videos=2)
    shards = Shards.open(folder, settings)
    with pytest.raises(Refusal, match=message):
        (shards.keys, read(shards))


def flip_a_value(path: Path) -> None:
    second = headers(path)[1]
    overwrite(path, second.offset_data + second.size - 1, b"\x3f")


@READERS
def test_a_flipped_byte_is_found_at_its_first_use_and_named(folder: Path, read: Callable[[Shards], object]) -> None:
    flip_a_value(first(folder))
    message = r"'AP0061o0Nvk_101.8_111.8' in .*000000.tar' has another: .* copy it again, .*--reading.on_bad skip"
    with pytest.raises(Refusal, match=message):
        read(Shards.open(folder))


def test_a_flipped_byte_in_a_header_is_found_by_reading_in_order(folder: Path) -> None:
    name = headers(first(folder))[1].offset
    overwrite(first(folder), name, b"XX")
    header = bytearray(first(folder).read_bytes()[name : name + 512])
    header[148:156] = b" " * 8
    overwrite(first(folder), name + 148, f"{sum(header):06o}\0 ".encode())  # a checksum that agrees
    with pytest.raises(Refusal, match=r"holds 'XX0061o0Nvk_101.8_111.8' where its index has 'AP0061"):
        streamed(Shards.open(folder))


def test_a_compressed_stream_behind_a_good_index_is_not_unpacked(folder: Path) -> None:
    bomb = gzip.compress(b"\0" * (1 << 20))
    overwrite(first(folder), 0, bomb)
    with pytest.raises(Refusal, match="is compressed with gzip"):
        streamed(Shards.open(folder))


TERABYTES = b'{"vggish":{"dtype":"F16","shape":[10,1000000000000],"data_offsets":[0,20000000000000]}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<Q", len(TERABYTES)) + TERABYTES, "'bad_0_10' in .*000000.tar' is damaged"),
        (struct.pack("<Q", 1 << 42), "'bad_0_10' in .*000000.tar' is damaged"),
        (b"", "'bad_0_10' in .*000000.tar' is damaged"),
        (b"garbage", "'bad_0_10' in .*000000.tar' is damaged"),
        (save({"vggish": np.zeros((10, 4), "f2")}), r"but 'bad_0_10' has \['vggish'\]"),
        (
            save({"vggish": np.zeros((9, 4), "f2"), "resnet152": np.zeros((10, 6), "f2")}),
            r"is \(9, 4\) in video 'bad_0_10'",
        ),
        (
            save({"vggish": np.zeros((10, 4), "f4"), "resnet152": np.zeros((10, 6), "f2")}),
            "'vggish' must be stored as float16, as the manifest says, but is float32 in video 'bad_0_10'",
        ),
    ],
)
@READERS
def test_a_member_that_is_no_video_of_the_set_is_named_or_skipped(
    folder: Path, read: Callable[[Shards], object], content: bytes, message: str, capsys: pytest.CaptureFixture
) -> None:
    tar(first(folder), [member(KEYS[0]), ("bad_0_10.safetensors", content)])
    sealed(folder)
    with pytest.raises(Refusal, match=message):
        read(Shards.open(folder))
    rows = Shards.open(folder, SKIP).batch([4, 1, 0], NAMES)
    assert rows.places.tolist() == [4, 0]
    assert len(rows.faults) == 1
    assert [video.key for video in Shards.open(folder, SKIP).stream()] == [KEYS[0], *KEYS[2:]]
    assert f"Skipped: {rows.faults[0]}" in capsys.readouterr().out


def test_skipping_leaves_the_others_as_they_are_and_tells_each_time(folder: Path) -> None:
    whole = Shards.open(folder).batch(range(5), NAMES)
    flip_a_value(first(folder))
    shards = Shards.open(folder, SKIP)
    for order in ([0, 1, 2, 3, 4], [4, 1, 3], [1, 1], [1]):
        rows = shards.batch(order, NAMES)
        good = [place for place in order if place != 1]
        assert rows.places.tolist() == good
        assert len(rows.faults) == order.count(1)
        for name in NAMES:
            np.testing.assert_array_equal(rows.features[name], whole.features[name][good])


def test_a_single_bad_video_is_refused_even_where_bad_ones_are_skipped(folder: Path) -> None:
    flip_a_value(first(folder))
    with pytest.raises(Refusal, match="must have its index's digest"):
        Shards.open(folder, SKIP).read(1)


def test_a_shard_that_shrinks_while_it_is_read_is_told(folder: Path) -> None:
    shards = Shards.open(folder)
    shards.batch([0, 1], NAMES)
    truncate(first(folder), 600)
    with pytest.raises(Refusal, match=r"'AP0061o0Nvk_101.8_111.8' in .*000000.tar' has another"):
        shards.batch([1], ["vggish"])


def test_members_are_never_unpickled(folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    code = f"c__builtin__\nexec\n(Vopen({str(witness)!r}, 'w')\ntR.".encode()
    for name in ("x_0_10.pyd", "x_0_10.pkl", "x_0_10.pickle", "x_0_10.pth", "x_0_10.pkl.gz"):
        tar(first(folder), [member(KEYS[0]), (name, gzip.compress(code) if name.endswith("gz") else code)])
        sealed(folder)
        for read in (streamed, batched):
            with pytest.raises(Refusal, match=f"holds '{name}'"):
                read(Shards.open(folder))
    assert not witness.exists()


def test_rewriting_of_urls_is_refused_while_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPEN_REWRITE", "/=pipe:")
    with pytest.raises(Refusal, match="GOPEN_REWRITE"):
        Shards.open(folder)


def test_a_pipe_is_no_location() -> None:
    with pytest.raises(Refusal, match="pipe"):
        Shards.open("pipe:cat /etc/passwd")
