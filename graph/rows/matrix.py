"""One feature of a corpus as a memory-mapped float16 matrix: row `10 · video + second`, in stored order.

`rows.write` makes the file: an ordinary safetensors file with the tensors `rows` and `digests`, mapped, not read.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from jaxtyping import Bool, Float16, Float32, Int, UInt8

from launch.refusal import Refusal

FORMAT = "soundsight-matrix-v2"
MOST_ZERO = 0.2
"""The largest share of existing rows without any signal that is believed (all zero: they have no direction)."""
ROUNDING = 1e-6
"""What is left of a row without the mean is a direction where it is longer than this share of the mean."""
BLOCK = 8192
"""Rows read at a time where the whole matrix passes by."""
DIGEST = 16
"""Bytes of a row's digest."""


@dataclass(frozen=True)
class Matrix:
    """The rows of one feature over a corpus."""

    feature: str
    manifest_digest: str
    rows: Float16[np.ndarray, "snippet width"]
    """As they are compared (of a projected feature: projected); memory-mapped."""
    zero: Bool[np.ndarray, " snippet"]
    """Rows that are all zero, or nothing but the mean: they have no direction, their cosine with anything is 0, and
    they get no edges."""
    digests: UInt8[np.ndarray, "snippet 16"]
    """The xxh3-128 of each row as the shards store it: equal for exact copies, and only for them."""
    mean: Float32[np.ndarray, " width"] | None = None
    """What `unit` subtracts from every row before it is brought to length 1; None subtracts nothing."""
    made: str = "as stored"
    """What was done to the rows on their way from the shards into the file, in words."""
    less: str = ""
    """Whose `mean` it is, in words."""

    def __len__(self) -> int:
        return len(self.rows)

    def unit(self, which: slice | Int[np.ndarray, " row"]) -> Float32[np.ndarray, "row width"]:
        """The chosen rows at length 1 in float32; those that are `zero` become all zero."""
        rows = np.ascontiguousarray(self.rows[which], dtype=np.float32)
        if self.mean is not None:
            rows -= self.mean
        length = _lengths(rows)
        length[self.zero[which]] = np.inf
        return np.divide(rows, length[:, None], out=rows)

    def tile(self, left: np.ndarray, right: np.ndarray) -> Float32[np.ndarray, "left right"]:
        """The cosines of two lists of snippets: the float32 product of their unit rows."""
        return self.unit(left) @ self.unit(right).T

    def pairs(self, first: np.ndarray, second: np.ndarray) -> Float32[np.ndarray, " pair"]:
        """The cosine of `first[n]` and `second[n]` for each n; as many pairs as you like, a block at a time."""
        cosines = np.empty(len(first), np.float32)
        for start in range(0, len(first), BLOCK):
            part = slice(start, start + BLOCK)
            cosines[part] = np.einsum("pw,pw->p", self.unit(first[part]), self.unit(second[part]), optimize=False)
        return cosines

    def centred(self, mean: Float32[np.ndarray, " width"] | None = None) -> "Matrix":
        """The same rows, less a mean at use (their own, or that of the earlier graph which is built on): non-negative
        features all lean one way, which this takes out. Raises Refusal when more than 20% of them are nothing else."""
        less = "the earlier graph's mean"
        if mean is None:
            less, total = "their mean", np.zeros(self.width)
            for rows in self.blocks():
                total += rows.sum(axis=0, dtype=np.float64)
            mean = (total / max(int((~self.zero).sum()), 1)).astype(np.float32)
        return replace(self, mean=mean, less=less, zero=self.zero | self._nothing_but(mean))

    @property
    def told(self) -> str:
        """What was done to the rows before they are compared, in words."""
        return f"{self.made}, less {self.less}" if self.less else self.made

    def blocks(self) -> Iterator[Float16[np.ndarray, "row width"]]:
        """All rows, a block at a time."""
        for start in range(0, len(self.rows), BLOCK):
            yield self.rows[start : start + BLOCK]

    @property
    def width(self) -> int:
        """Numbers a row."""
        return int(self.rows.shape[1])

    def _nothing_but(self, mean: Float32[np.ndarray, " width"]) -> Bool[np.ndarray, " snippet"]:
        """Rows of which rounding is all that is left without the mean."""
        shortest = ROUNDING * float(np.linalg.norm(mean))
        found = [_lengths(rows.astype(np.float32) - mean) <= shortest for rows in self.blocks()]
        gone = np.concatenate([np.zeros(0, bool), *found])
        if gone.any() and gone.mean() > MOST_ZERO:
            raise Refusal(
                f"At most {MOST_ZERO:.0%} of a feature's rows may be nothing but their mean, but of '{self.feature}' "
                f"{gone.mean():.1%} ({int(gone.sum())} of {len(gone)}) are the same row: check the extraction of that "
                "feature, or set rows.centre to False."
            )
        return gone


def open_matrix(path: Path, manifest_digest: str) -> Matrix:
    """A written matrix, mapped; raises Refusal when it is another manifest's or holds more than 20% zero rows."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        about = json.loads(header["__metadata__"]["about"])
        rows = _mapped(path, header["rows"], 8 + length, np.float16)
        digests = np.array(_mapped(path, header["digests"], 8 + length, np.uint8))
        if digests.shape != (len(rows), DIGEST):
            raise ValueError(f"{len(rows)} rows have digests of shape {digests.shape}")
        feature, made, manifest = about["feature"], about["made"], about["manifest"]
        absent = about.get("absent", 0)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise Refusal(
            f"A matrix must be a whole safetensors file with 'rows' and 'digests', but '{path}' is not ({error}): "
            "delete it and build the graph again."
        ) from None
    if manifest != manifest_digest:
        raise Refusal(
            f"A matrix must come from the shards in use, but '{path}' holds rows of another manifest "
            f"({manifest[:12] or 'none'}, not {manifest_digest[:12]}): build the graph again."
        )
    return Matrix(feature, manifest, rows, _zero_rows(rows, feature, absent), digests, made=made)


def digests_of(rows: Float16[np.ndarray, "row width"]) -> UInt8[np.ndarray, "row 16"]:
    """The xxh3-128 of each row's bytes."""
    found = b"".join(xxhash.xxh3_128_digest(row.tobytes()) for row in rows)
    return np.frombuffer(found, np.uint8).reshape(len(rows), DIGEST)


def header(snippets: int, width: int, about: dict[str, Any], least: int = 0) -> bytes:
    """The start of a matrix file, of at least so many bytes: the header's length, then the header; the rows follow,
    then the digests."""
    size = snippets * width * 2
    tensors = {
        "rows": {"dtype": "F16", "shape": [snippets, width], "data_offsets": [0, size]},
        "digests": {"dtype": "U8", "shape": [snippets, DIGEST], "data_offsets": [size, size + snippets * DIGEST]},
    }
    text = json.dumps({"__metadata__": {"about": json.dumps({"format": FORMAT, **about})}, **tensors}).encode()
    text = text.ljust(least - 8)
    text += b" " * (-(len(text) + 8) % 64)  # so that the rows start at a multiple of 64 bytes
    return struct.pack("<Q", len(text)) + text


def _mapped(path: Path, tensor: dict[str, Any], start: int, kind: type) -> np.ndarray:
    """A tensor of two axes; raises ValueError where its shape does not fill its bytes, or the file ends before them."""
    (rows, width), (begin, end) = tensor["shape"], tensor["data_offsets"]
    if rows * width * np.dtype(kind).itemsize != end - begin:
        raise ValueError(f"{rows} rows of width {width} do not fill {end - begin} bytes")
    return np.memmap(path, kind, "r", offset=start + begin, shape=(rows, width))


def _lengths(rows: Float32[np.ndarray, "row width"]) -> Float32[np.ndarray, " row"]:
    return np.sqrt(np.einsum("rw,rw->r", rows, rows, optimize=False))


def _zero_rows(rows: Float16[np.ndarray, "snippet width"], feature: str, absent: int) -> Bool[np.ndarray, " snippet"]:
    blocks = [~np.any(rows[start : start + BLOCK], axis=1) for start in range(0, len(rows), BLOCK)]
    zero = np.concatenate(blocks) if blocks else np.zeros(0, bool)
    silent, existing = int(zero.sum()) - absent, max(len(zero) - absent, 1)
    if silent / existing > MOST_ZERO:
        raise Refusal(
            f"At most {MOST_ZERO:.0%} of a feature's rows may be all zero, but '{feature}' has {silent / existing:.1%} "
            f"({silent} of {existing}): check the extraction of that feature."
        )
    return zero
