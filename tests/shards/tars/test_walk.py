"""A tar is walked to its very end, or refused in a sentence that names it, the member and the remedy."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from launch.refusal import Refusal
from shards.tars.walk import walk
from tests.shards.sets import LINK, entry, member, overwrite, tar

FIRST, SECOND = member("first_0_10"), member("second_0_10")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A tar of two members."""
    tar(tmp_path / "000000.tar", [FIRST, SECOND])
    return tmp_path / "000000.tar"


def headers(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as file:
        return file.getmembers()


def truncate(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


def refused(path: Path, message: str, most: int | None = None) -> None:
    with pytest.raises(Refusal, match=message) as refusal:
        list(walk(path, most))
    assert str(path) in str(refusal.value)


def test_members_lie_where_the_walk_says(path: Path) -> None:
    content = path.read_bytes()
    assert [(each.name, content[each.start : each.start + each.size]) for each in walk(path)] == [FIRST, SECOND]


def test_what_gnu_tar_writes_is_a_whole_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "gnu.tar", "w", format=tarfile.GNU_FORMAT) as file:
        info = tarfile.TarInfo("x" * 150 + ".safetensors")  # needs a long-name header
        file.addfile(info)
    assert [len(each.name) for each in walk(tmp_path / "gnu.tar")] == [162]


def test_a_cut_inside_a_header_is_told_by_its_byte(path: Path) -> None:
    second = headers(path)[1].offset
    truncate(path, second + 100)
    refused(path, rf"cut inside the header at byte {second}: copy it again, or make it anew")


def test_a_cut_between_two_samples_is_told(path: Path) -> None:
    second = headers(path)[1].offset
    truncate(path, second)
    refused(path, rf"cut at byte {second}: its closing blocks are missing")


def test_a_cut_inside_a_member_names_it(path: Path) -> None:
    truncate(path, headers(path)[1].offset_data + 10)
    refused(path, r"ends inside member 'second_0_10.safetensors', which claims \d+ bytes")


@pytest.mark.parametrize("kept", [0, 512])
def test_missing_end_blocks_are_told(path: Path, kept: int) -> None:
    last = headers(path)[1]
    end = last.offset_data + -(-last.size // 512) * 512
    truncate(path, end + kept)
    refused(path, "its closing blocks are missing")


def test_a_damaged_header_is_no_end(path: Path) -> None:
    second = headers(path)[1].offset
    overwrite(path, second, b"\xff" * 512)
    refused(path, rf"a damaged header.* at byte {second}")


def test_data_after_the_end_is_told(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    refused(path, "data after its end")


def test_an_empty_file_is_no_tar(tmp_path: Path) -> None:
    (tmp_path / "empty.tar").touch()
    refused(tmp_path / "empty.tar", r"is damaged \(empty file\)")


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (entry("x.safetensors", LINK, "/etc/passwd"), "a link"),
        (entry("x.safetensors", tarfile.LNKTYPE, FIRST[0]), "a link"),
        (entry("folder", tarfile.DIRTYPE), "a directory"),
        (entry("x.safetensors", tarfile.FIFOTYPE), "no plain file"),
        (entry("x.safetensors", tarfile.CHRTYPE), "no plain file"),
    ],
)
def test_what_is_no_plain_file_is_refused_by_name(tmp_path: Path, bad: tarfile.TarInfo, kind: str) -> None:
    tar(tmp_path / "bad.tar", [FIRST, bad])
    refused(tmp_path / "bad.tar", f"'{bad.name}' in .* is {kind}")


def test_a_sparse_file_that_claims_a_terabyte_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x.safetensors")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,0"}
    with tarfile.open(tmp_path / "bad.tar", "w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info)
    refused(tmp_path / "bad.tar", "'x.safetensors' in .* is no plain file")


@pytest.mark.parametrize("name", ["/etc/x.safetensors", "../x.safetensors", "a/../../x.safetensors"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    tar(tmp_path / "bad.tar", [(name, b"")])
    refused(tmp_path / "bad.tar", f"must stay inside its shard, but .* holds '{name}'")


def test_a_doubled_member_is_refused_by_name(tmp_path: Path) -> None:
    tar(tmp_path / "bad.tar", [FIRST, SECOND, FIRST])
    refused(tmp_path / "bad.tar", "holds 'first_0_10.safetensors' twice")


def test_a_member_larger_than_its_features_is_refused(path: Path) -> None:
    refused(path, rf"'first_0_10.safetensors' in .* has {len(FIRST[1])} bytes where 100 are the most", most=100)


def test_a_size_that_an_extended_header_claims_is_not_believed(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x.safetensors")
    info.pax_headers = {"size": str(1 << 42)}
    with tarfile.open(tmp_path / "bad.tar", "w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info)
    refused(tmp_path / "bad.tar", r"ends inside member 'x.safetensors', which claims 4398046511104 bytes")


def test_an_extended_header_longer_than_the_file_is_told(tmp_path: Path) -> None:
    header = entry("./PaxHeaders/x", tarfile.XHDTYPE)
    header.size = 1 << 42
    (tmp_path / "bad.tar").write_bytes(member_bytes() + header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
    refused(tmp_path / "bad.tar", "damaged")


def member_bytes() -> bytes:
    info = tarfile.TarInfo(FIRST[0])
    info.size = len(FIRST[1])
    return info.tobuf() + FIRST[1] + b"\0" * (-len(FIRST[1]) % 512)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_compression_is_never_followed(path: Path, kind: str) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=f"w:{kind}") as file:
        file.add(path, "x.safetensors")
    path.write_bytes(content.getvalue())
    refused(path, "is compressed with .*unpack it yourself first")


def test_a_gzip_bomb_is_not_unpacked(path: Path) -> None:
    path.write_bytes(gzip.compress(b"\0" * (64 << 20), compresslevel=1))
    refused(path, "is compressed with gzip, and may unpack to any size")
