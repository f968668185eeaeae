"""Shards → one memory-mapped float16 matrix a feature: row `10 · video + second`, in stored order.

The file is an ordinary safetensors file (tensor `rows`, header with the manifest digest), written by hand so that
memory does not grow with the corpus, and mapped, not read, when it is used.
"""

import json
import struct
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int

from launch.atomic import whole_file
from launch.progress import track
from launch.refusal import Refusal
from shards.read import Shards
from shards.schema import SECONDS, Video

FORMAT = "soundsight-matrix-v1"
MOST_ZERO = 0.2
"""The largest share of rows without any signal that is believed (rows that are all zero have no direction)."""
BLOCK = 8192
"""Rows read at a time where the whole matrix passes by."""


@dataclass(frozen=True)
class Matrix:
    """The rows of one feature over a corpus."""

    feature: str
    manifest_digest: str
    rows: Float16[np.ndarray, "snippet width"]
    """As stored; memory-mapped."""
    zero: Bool[np.ndarray, " snippet"]
    """Rows that are all zero: they have no direction, their cosine with anything is 0, and they get no edges."""
    mean: Float32[np.ndarray, " width"] | None = None
    """What `unit` subtracts from every row before it is brought to length 1; None subtracts nothing."""

    def __len__(self) -> int:
        return len(self.rows)

    def unit(self, which: slice | Int[np.ndarray, " row"]) -> Float32[np.ndarray, "row width"]:
        """The chosen rows at length 1 in float32; rows that are all zero stay all zero."""
        rows = np.ascontiguousarray(self.rows[which], dtype=np.float32)
        shortest = 0.0
        if self.mean is not None:
            rows -= self.mean
            shortest = 1e-6 * float(np.linalg.norm(self.mean))  # what is left of a row equal to the mean is rounding
        length = np.sqrt(np.einsum("rw,rw->r", rows, rows, optimize=False))
        length[self.zero[which] | (length <= shortest)] = np.inf
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

    def centred(self) -> "Matrix":
        """The same rows, less their mean at use: non-negative features all lean one way, which this takes out."""
        total = np.zeros(self.rows.shape[1])
        for start in range(0, len(self), BLOCK):
            total += self.rows[start : start + BLOCK].sum(axis=0, dtype=np.float64)
        mean = (total / max(int((~self.zero).sum()), 1)).astype(np.float32)
        return Matrix(self.feature, self.manifest_digest, self.rows, self.zero, mean)

    @property
    def width(self) -> int:
        """Numbers a row."""
        return int(self.rows.shape[1])


def write_matrices(shards: Shards, features: Collection[str], folder: Path) -> dict[str, Matrix]:
    """The matrix of each feature of a shard set, by its name; the set is read once for all of them.

    They are written whole to `folder/<feature>.safetensors`, all or none, and opened. Raises Refusal for a feature the
    set does not hold, a value that is not finite (naming the video and the second), more than 20% rows without signal,
    and VGGish codes that were quantised to whole numbers from 0 to 255.
    """
    for name in features:
        shards.check_feature(name)
    digest = shards.manifest.digest
    with ExitStack() as stack:
        files = {name: stack.enter_context(whole_file(folder / f"{name}.safetensors")) for name in features}
        with ExitStack() as opened:
            columns = [_Column(shards, name, opened.enter_context(file.open("wb"))) for name, file in files.items()]
            for video in track(shards.stream(), f"{', '.join(files)} → matrix", len(shards), "videos"):
                for column in columns:
                    column.add(video)
            for column in columns:
                column.finish()
        return {name: open_matrix(file, digest) for name, file in files.items()}


def open_matrix(path: Path, manifest_digest: str) -> Matrix:
    """A written matrix, mapped; raises Refusal when it is another manifest's or holds more than 20% zero rows."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        shape = tuple(header["rows"]["shape"])
        rows = np.memmap(path, np.float16, "r", offset=8 + length, shape=shape)
        about = header["__metadata__"]
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise Refusal(f"A matrix must be a safetensors file with 'rows', but '{path}' is not ({error}).") from None
    if about.get("manifest") != manifest_digest:
        raise Refusal(
            f"A matrix must come from the shards in use, but '{path}' holds rows of another manifest "
            f"({about.get('manifest', 'none')[:12]}, not {manifest_digest[:12]}): build the graph again."
        )
    return Matrix(about["feature"], manifest_digest, rows, _zero_rows(rows, about["feature"]))


class _Column:
    """The matrix of one feature on its way into a file, refused where its rows cannot be compared."""

    def __init__(self, shards: Shards, name: str, file: BinaryIO) -> None:
        described = shards.manifest.features[name]
        if "quanti" in described.variant.lower():
            raise _quantised(name, f"variant '{described.variant}'")
        self._name, self._file, self._whole, self._highest = name, file, True, 0.0
        shape = (len(shards) * SECONDS, described.width)
        file.write(_header(shape, {"format": FORMAT, "feature": name, "manifest": shards.manifest.digest}))

    def add(self, video: Video) -> None:
        """Appends a video's rows."""
        with np.errstate(over="ignore"):  # too large for float16 becomes an infinity, refused below
            rows = np.ascontiguousarray(video.features[self._name], np.float16)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise Refusal(
                f"Every value of a feature must be finite, but '{self._name}' of video '{video.key}' "
                f"is not in second {int(np.argmin(finite))}: mend the feature file and pack again."
            )
        self._whole = self._whole and bool(((rows >= 0) & (rows <= 255) & (rows == np.floor(rows))).all())
        self._highest = max(self._highest, float(rows.max()))
        self._file.write(rows.tobytes())

    def finish(self) -> None:
        """Refuses what all rows together show to be codes."""
        if self._whole and self._highest > 16:
            raise _quantised(self._name, f"only whole numbers up to {self._highest:.0f}")


def _zero_rows(rows: Float16[np.ndarray, "snippet width"], feature: str) -> Bool[np.ndarray, " snippet"]:
    blocks = [~np.any(rows[start : start + BLOCK], axis=1) for start in range(0, len(rows), BLOCK)]
    zero = np.concatenate(blocks) if blocks else np.zeros(0, bool)
    share = zero.mean() if len(zero) else 0.0
    if share > MOST_ZERO:
        raise Refusal(
            f"At most {MOST_ZERO:.0%} of a feature's rows may be all zero, but '{feature}' has {share:.1%} "
            f"({int(zero.sum())} of {len(zero)}): check the extraction of that feature."
        )
    return zero


def _quantised(feature: str, found: str) -> Refusal:
    return Refusal(
        f"Cosines need features as the network gave them, but '{feature}' holds quantised codes ({found}), "
        "in which unrelated snippets look alike (cosine 0.81): dequantise before packing."
    )


def _header(shape: tuple[int, int], metadata: dict[str, str]) -> bytes:
    """The start of a safetensors file with one float16 tensor `rows`: the header's length, then the header."""
    size = shape[0] * shape[1] * 2
    rows = {"dtype": "F16", "shape": list(shape), "data_offsets": [0, size]}
    text = json.dumps({"__metadata__": metadata, "rows": rows}).encode()
    text += b" " * (-(len(text) + 8) % 64)  # so that the rows start at a multiple of 64 bytes
    return struct.pack("<Q", len(text)) + text
