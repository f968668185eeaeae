"""Shards → one matrix a feature, made fit for cosines on the way: codes read back as values, wide rows projected.

A projection (seeded, Gaussian) keeps cosines up to about (1 - cosine²) / √width: 0.016 at cosine 0.8 and width 512.
"""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Float16, Float32
from pydantic import Field

from graph.rows.matrix import Matrix, digests_of, header, open_matrix
from launch.atomic import whole_file
from launch.progress import track
from launch.refusal import Refusal
from launch.settings import Settings
from shards.present import as_told, snippets_there
from shards.read import Shards
from shards.schema import PRESENT, SECONDS, Video, seconds_of

VIDEOS = 64
"""Videos that are brought into shape together."""
HIGHEST_CODE = 255
MOST_COUNTED = 16
"""Whole numbers up to here may be counts of something; a feature with larger ones is taken for codes."""


class RowSettings(Settings):
    """What is done to rows before they are compared; all of it is told in the report."""

    centre: bool = Field(False, description="whether the mean row is subtracted first (features that lean one way)")
    codes: Literal["refuse", "dequantise"] = Field(
        "refuse", description="VGGish codes 0..255 (AudioSet's release): refuse them, or read them as -2..2"
    )
    project_to: int = Field(512, ge=0, description="numbers a row after projection of wider features; 0: never")
    project_above: int = Field(50_000, ge=0, description="snippets from which on wider features are projected")
    seed: int = Field(0, ge=0, description="seed of the projection")

    def projected(self, width: int, snippets: int) -> int:
        """The numbers a row that rows of that width have when they are compared."""
        return self.project_to if 0 < self.project_to < width and snippets > self.project_above else width


def write_matrices(
    shards: Shards, features: Collection[str], folder: Path, settings: RowSettings | None = None
) -> dict[str, Matrix]:
    """The matrix of each feature of a shard set, by its name; the set is read once for all of them.

    They are written whole to `folder/<feature>.rows.safetensors`, all or none, and opened. Raises Refusal for a feature
    the set does not hold, a value that is not finite (naming the video and the second), more than 20% rows without
    signal, and codes (whole numbers from 0 to 255) that are not to be dequantised, or that only some videos hold.
    """
    for name in features:
        shards.check_feature(name)
    settings = settings or RowSettings()
    with ExitStack() as stack:
        files = {name: stack.enter_context(whole_file(folder / f"{name}.rows.safetensors")) for name in features}
        with ExitStack() as opened:
            columns = [
                _Column(shards, name, opened.enter_context(file.open("wb")), settings) for name, file in files.items()
            ]
            for video in track(shards.stream(), f"{', '.join(files)} → matrix", len(shards), "videos"):
                for column in columns:
                    column.add(video)
            for column in columns:
                column.finish()
        return {name: open_matrix(file, shards.manifest.digest) for name, file in files.items()}


class _Column:
    """The matrix of one feature on its way into a file, refused where its rows cannot be compared."""

    def __init__(self, shards: Shards, name: str, file: BinaryIO, settings: RowSettings) -> None:
        self._described, self._snippets = shards.manifest.features[name], len(shards) * SECONDS
        self._about: dict[str, Any] = {"feature": name, "manifest": shards.manifest.digest}
        self._location, self._told = shards.location, PRESENT in shards.manifest.features
        self._absent, self._start = 0 if self._told else _absent(shards), 0
        self._name, self._file, self._settings = name, file, settings
        width = settings.projected(self._described.width, self._snippets)
        self._projection = _projection(self._described.width, width, settings.seed)
        self._whole, self._highest = True, 0.0
        self._codes: bool | None = None
        """Whether the rows are codes; the first videos tell, the last ones confirm it."""
        self._waiting: list[tuple[str, Float16[np.ndarray, "second width"]]] = []
        """Keys and rows of at most `VIDEOS` videos."""
        self._digests: list[bytes] = []

    def add(self, video: Video) -> None:
        """Appends a video's rows."""
        with np.errstate(over="ignore"):  # too large for float16 becomes an infinity, refused below
            rows = np.ascontiguousarray(video.features[self._name], np.float16)
        self._check_finite(rows, [video.key], "mend the feature file and pack again")
        if self._told:
            self._absent += self._zero_where_something_is_absent(video, rows)
        self._whole = self._whole and bool(((rows >= 0) & (rows <= HIGHEST_CODE) & (rows == np.floor(rows))).all())
        self._highest = max(self._highest, float(rows.max()))
        self._digests.append(digests_of(rows).tobytes())
        self._waiting.append((video.key, rows))
        if len(self._waiting) == VIDEOS:
            self._flush()

    def finish(self) -> None:
        """Writes what waits and the digests; refuses rows of which only some are codes."""
        self._flush()
        if self._codes != (self._whole and self._highest > MOST_COUNTED):
            raise Refusal(
                f"A feature must hold codes (whole numbers from 0 to {HIGHEST_CODE}) everywhere or nowhere, but the "
                f"first videos and the rest of '{self._name}' differ in that: pack what was extracted in one way."
            )
        self._file.write(b"".join(self._digests))
        if self._told:
            self._file.seek(0)
            self._file.write(self._header(self._absent))

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows, keys = np.concatenate([rows for _, rows in self._waiting]), [key for key, _ in self._waiting]
        self._waiting.clear()
        if self._codes is None:
            self._codes = self._are_codes()
            self._start = self._file.write(self._header(self._snippets if self._told else self._absent))
        if self._codes:
            rows = dequantised(rows)
        if self._projection is not None:
            with np.errstate(over="ignore"):  # as in `add`
                rows = (rows.astype(np.float32) @ self._projection).astype(np.float16)
            self._check_finite(rows, keys, f"{self._made()}, it is beyond float16; set rows.project_to to 0, or mend "
                               "the feature file and pack again")  # fmt: skip
        self._file.write(rows.tobytes())

    def _header(self, absent: int) -> bytes:
        """What is first written of a told `absent` is the most that it can become, so that the last has the room."""
        about = self._about | {"absent": absent, "made": self._made()}
        return header(self._snippets, self._width, about, least=self._start)

    def _zero_where_something_is_absent(self, video: Video, rows: Float16[np.ndarray, "second width"]) -> int:
        there = snippets_there([video.key], as_told(video.features[PRESENT][None], self._location))
        return int((~there[:, 0].all(axis=0) & ~rows.any(axis=1)).sum())

    def _check_finite(self, rows: Float16[np.ndarray, "row width"], keys: Sequence[str], remedy: str) -> None:
        """Raises Refusal for a value that is not finite in the rows of some videos."""
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            video, second = divmod(int(np.argmin(finite)), SECONDS)
            raise Refusal(
                f"Every value of a feature must be finite, but '{self._name}' of video '{keys[video]}' is not in "
                f"second {second}: {remedy}."
            )

    def _are_codes(self) -> bool:
        said, variant = "quanti" in self._described.variant.lower(), self._described.variant
        seen = self._whole and self._highest > MOST_COUNTED
        if (said or seen) and self._settings.codes == "refuse":
            found = f"variant '{variant}'" if said else f"only whole numbers up to {self._highest:.0f}"
            raise Refusal(
                f"Cosines need features as the network gave them, but '{self._name}' holds quantised codes ({found}), "
                "in which unrelated snippets look alike (cosine 0.81): dequantise before packing, or set rows.codes to "
                "'dequantise'."
            )
        return seen

    @property
    def _width(self) -> int:
        return self._described.width if self._projection is None else int(self._projection.shape[1])

    def _made(self) -> str:
        steps = ["dequantised from codes to -2..2"] if self._codes else []
        if self._projection is not None:
            steps.append(f"projected from {self._described.width} to {self._width} numbers")
        return ", ".join(steps) or "as stored"


def dequantised(codes: Float16[np.ndarray, "row width"]) -> Float16[np.ndarray, "row width"]:
    """The values that VGGish codes stand for: the release clips PCA'd embeddings to [-2, 2] and stores 0..255.

    A row of zeros stays one: it is padding (no sound has -2 everywhere), and as (-2, …, -2) it would match its like.
    """
    values = (codes.astype(np.float32) * np.float32(4 / HIGHEST_CODE) - 2).astype(np.float16)
    values[~codes.any(axis=1)] = 0
    return values


def _absent(shards: Shards) -> int:
    """How many rows stand for no second, since their video is shorter than SECONDS; they are zero.

    Where the shards say what is present, rows are counted on their way instead.
    """
    return sum(SECONDS - seconds_of(key) for key in shards.keys)


def _projection(width: int, target: int, seed: int) -> Float32[np.ndarray, "width target"] | None:
    if target == width:
        return None
    return np.random.default_rng(seed).standard_normal((width, target), np.float32) / np.float32(target**0.5)
