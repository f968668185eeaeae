"""The members of a tar in stored order, grouped by webdataset: the only file that imports it.

Nothing is ever decoded by it (its decoders unpickle) nor opened by it (its opener knows `pipe:` and rewriting): it is
given an open file, and a member's bytes go on as they are.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from shards.schema import key_of
from shards.tars.index import Index, member_digest
from shards.tars.layout import SUFFIX
from shards.tars.walk import check_plain, damaged

os.environ.setdefault("WDS_SECURE", "1")  # read by webdataset when it is imported: no shell, no unpickling
from webdataset.tariterators import group_by_keys, tar_file_expander


def stream(descriptor: int, path: Path, index: Index) -> Iterator[tuple[bytes, bool]]:
    """(payload, whether it has its digest) of every video of an open tar, in stored order; `path` is what it is called.

    Raises Refusal when the tar holds other members than its index, or cannot be read to its end.
    """
    with io.BufferedReader(_FromStart(os.dup(descriptor)), 1 << 20) as file:
        check_plain(path, file.peek(8))  # webdataset would unpack it
        found = _samples(file, path)
        for key, digest in zip(index.keys, index.digest, strict=True):
            stem, payload = next(found, (None, b""))
            if stem is None or key_of(stem) != key:
                there = "ends" if stem is None else f"holds '{key_of(stem)}'"
                raise damaged(path, f"{there} where its index has '{key}'")
            yield payload, member_digest(payload) == digest.tobytes()
        extra, _ = next(found, (None, b""))
        if extra is not None:
            raise damaged(path, f"holds '{key_of(extra)}', which is not in its index")


def _samples(file: "io.BufferedReader[_FromStart]", path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        members = tar_file_expander([{"url": str(path), "stream": file}], eof_value=None)
        for sample in group_by_keys(members):
            yield sample["__key__"], sample.get(SUFFIX[1:], b"")
    except (tarfile.TarError, ValueError) as error:  # ValueError: webdataset's word for a doubled member
        raise damaged(path, f"is damaged ({error.args[0]})") from None


class _FromStart(io.RawIOBase):
    """A file read from its start through a descriptor that others read too: it keeps an offset of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._offset = descriptor, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        count = os.preadv(self._descriptor, [buffer], self._offset)
        self._offset += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
