"""The one walk over the headers of a tar: plain files only, to its very end; every fault is a Refusal that names it.

Python's reader (and WebDataset's, which uses it) takes a tar that is cut in a header or between two members for a
whole one, follows compression, and skips what is no file. Here each of these is said.
"""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launch.refusal import Refusal

BLOCK = tarfile.BLOCKSIZE
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes of what another program would unpack without asking how much comes out."""


@dataclass(frozen=True)
class Member:
    """A plain file in a tar: its name, the first byte of its payload in the tar, and its length in bytes."""

    name: str
    start: int
    size: int


def walk(path: Path, most: int | None = None) -> Iterator[Member]:
    """The members of a tar in stored order; nothing is unpacked, and only headers are read.

    Raises Refusal, naming tar and member, for a compressed file, one that is cut or damaged anywhere up to its two
    closing blocks, a member that is no plain file (link, directory, device, sparse file), an absolute name or one with
    `..`, a name that comes twice, and a member of more than `most` bytes.
    """
    with path.open("rb") as file:
        check_plain(path, file.read(8))
    length, seen = path.stat().st_size, set[str]()
    with _opened(path) as tar:
        while (info := _next(tar, path)) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep every header it has met
            _check_member(path, info, length, most)
            if info.name in seen:
                raise Refusal(
                    f"A member's name must be unique, but '{path}' holds {info.name!r} twice: make the shard anew."
                )
            seen.add(info.name)
            yield Member(info.name, info.offset_data, info.size)
        end = tar.offset
    _check_end(path, end, length)


def damaged(path: Path, found: str) -> Refusal:
    """The sentence for a container that cannot be trusted."""
    return Refusal(f"A shard must be a whole tar, but '{path}' {found}: copy it again, or make it anew.")


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        tar = tarfile.open(path, "r:")  # noqa: SIM115 (closed below; only the opening is guarded here)
    except tarfile.TarError as error:
        raise damaged(path, f"is damaged ({error})") from None
    with tar:
        yield tar


def _next(tar: tarfile.TarFile, path: Path) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except (tarfile.TarError, MemoryError, OverflowError, ValueError) as error:  # an extended header that lies
        raise damaged(
            path, f"is damaged at byte {tar.offset} ({error or 'a header claims more than there is'})"
        ) from None


def check_plain(path: Path, first: bytes) -> None:
    """Raises Refusal for a file that begins (`first`: its first eight bytes or more) as a compressed one does."""
    kind = next((kind for magic, kind in COMPRESSED.items() if first.startswith(magic)), None)
    if kind:
        raise Refusal(
            f"A shard must be a plain tar, but '{path}' is compressed with {kind}, and may unpack to any size: "
            "unpack it yourself first."
        )


def _check_member(path: Path, info: tarfile.TarInfo, length: int, most: int | None) -> None:
    parts = info.name.split("/")
    if not info.isreg() or info.issparse():
        kind = "a link" if info.islnk() or info.issym() else "a directory" if info.isdir() else "no plain file"
        raise Refusal(
            f"A shard's members must be plain files, but {info.name!r} in '{path}' is {kind}: make the shard anew."
        )
    if info.name.startswith("/") or ".." in parts:
        raise Refusal(
            f"A member's name must stay inside its shard, but '{path}' holds {info.name!r}: do not use this shard."
        )
    if info.offset_data + info.size > length:
        raise damaged(path, f"ends inside member {info.name!r}, which claims {info.size} bytes")
    if most is not None and info.size > most:
        raise Refusal(
            f"A member must not be larger than its features, but {info.name!r} in '{path}' has {info.size} bytes where "
            f"{most} are the most: make the shard anew."
        )


def _check_end(path: Path, end: int, length: int) -> None:
    """Two zero blocks must close a tar; where they are missing, it was cut or goes on in a way nobody can read."""
    with path.open("rb") as file:
        file.seek(end)
        rest, clean = file.read(2 * BLOCK), True
        while block := file.read(1 << 20):
            clean = clean and not any(block)
    if len(rest) < BLOCK and any(rest):
        raise damaged(path, f"is cut inside the header at byte {end}")
    if len(rest) == BLOCK and any(rest):
        raise damaged(path, f"holds a damaged header at byte {end}")
    if len(rest) < 2 * BLOCK:
        raise damaged(path, f"is cut at byte {min(end, length)}: its closing blocks are missing")
    if any(rest) or not clean:
        raise damaged(path, f"holds a damaged header, or data after its end, at byte {end}")
