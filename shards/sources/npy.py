"""Feature files as extractors leave them: one `<id>.npy` a video in one folder a feature, LLP's layout or any other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from launch.refusal import Refusal
from shards.schema import SECONDS, Feature

LLP_NAMES = {"vggish": "vggish", "res152": "resnet152", "r2plus1d_18": "r2plus1d_18"}
"""LLP's folder names → feature names; any other folder is a feature of its own name."""
WIDTHS = {"vggish": 128, "resnet152": 2048, "r2plus1d_18": 512}
"""Widths that are known; any other feature takes the width of its first file."""
RAW, SIGNED, QUANTISED = "raw", "signed", "quantised"
"""Variants of VGGish that are told apart by their values: after the last ReLU, with negative values (PCA'd, or before
the ReLU), and codes 0..255."""


@dataclass(frozen=True)
class ArrayFolder:
    """A folder of `<id>.npy` files that hold one feature."""

    path: Path
    feature: Feature

    @classmethod
    def open(cls, path: Path, dtype: str) -> "ArrayFolder":
        """The folder with its feature as the first file shows it (width, variant); refuses an empty folder."""
        files = sorted(path.glob("*.npy"))
        if not files:
            raise Refusal(f"A feature folder must hold .npy files, but '{path}' holds none: give the folder above it.")
        name, array = LLP_NAMES.get(path.name, path.name), load_array(files[0])
        width = WIDTHS.get(name) or int(array.shape[1])
        source = f"{path.name}/<id>.npy, {array.shape[0] // SECONDS or 1} row(s) a second"
        variant = next(filter(None, (variant_of(load_array(file)) for file in files)), RAW) if name == "vggish" else ""
        return cls(path, Feature(name, width, variant, source, dtype))

    def file(self, identity: str) -> Path:
        """Where the feature of a video lies; `identity` is the key without its two times, or the whole stem."""
        return self.path / f"{identity}.npy"

    def read(self, identity: str) -> Float[np.ndarray, "second width"]:
        """A video's feature, float32, averaged to one row a second.

        ResNet-152 comes as 8 rows a second; HAN's linear layer is applied to each and averaged, so averaging first
        is the same and 8 times smaller. Raises Refusal naming the file for a wrong shape, NaN, infinity, a pickle or
        another variant than the folder's other files.
        """
        file, feature = self.file(identity), self.feature
        array = load_array(file)
        if array.shape[1] != feature.width or array.shape[0] % SECONDS or not array.shape[0]:
            raise Refusal(
                f"Feature '{feature.name}' must have {SECONDS} rows, or a multiple of it, of width {feature.width}, "
                f"but '{file}' has shape {array.shape}: extract it again."
            )
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise Refusal(
                f"Feature values must be finite, but '{file}' holds {array[row, column]} at row {row}, "
                f"column {column}: extract it again."
            )
        variant = variant_of(array) if feature.variant else None
        if variant and variant != feature.variant:
            raise Refusal(
                f"A corpus must hold one variant of '{feature.name}', but '{file}' is {variant} and others are "
                f"{feature.variant}: extract all of them the same way."
            )
        return array.reshape(SECONDS, -1, feature.width).mean(axis=1)


def open_folders(parent: Path, names: Sequence[str], dtype: str) -> list[ArrayFolder]:
    """The feature folders below `parent`: the named ones, or all that hold .npy files when none is named."""
    paths = [parent / name for name in names] or sorted(path for path in parent.glob("*/") if any(path.glob("*.npy")))
    if not paths:
        raise Refusal(
            f"A corpus must have feature folders, but '{parent}' has none with .npy files in it: "
            "give the folder above vggish/, res152/, …"
        )
    return [ArrayFolder.open(path, dtype) for path in paths]


def stems(folders: Iterable[ArrayFolder]) -> list[str]:
    """The names, without suffix, of all videos that any of the folders holds a feature of; sorted."""
    return sorted({file.stem for folder in folders for file in folder.path.glob("*.npy")})


def check_present(folders: Iterable[ArrayFolder], identities: Sequence[str]) -> None:
    """Raises Refusal naming the first missing file, and how many are missing, unless every file is there."""
    for folder in folders:
        there = set(stems([folder]))
        missing = [identity for identity in identities if identity not in there]
        if missing:
            raise Refusal(
                f"Every video must have every feature, but '{folder.file(missing[0])}' is missing "
                f"({len(missing)} of {len(identities)} are): extract it, or leave its video out."
            )


def load_array(file: Path) -> Float[np.ndarray, "row width"]:
    """A two-dimensional .npy array as float32; never unpickles. Raises Refusal naming the file."""
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, BadZipFile) as error:
        raise Refusal(
            f"A feature file must be a plain .npy array, but '{file}' is not ({error}): "
            "save it with numpy.save, without objects in it."
        ) from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiu":
        found = f"shape {array.shape} and type {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise Refusal(
            f"A feature must be a table of numbers (rows × width), but '{file}' has {found}: extract it again."
        )
    return array.astype(np.float32)


def variant_of(array: Float[np.ndarray, "row width"]) -> str | None:
    """Which VGGish an array is: `raw`, `signed` or `quantised`; None where its values do not tell (only 0 and 1)."""
    if not array.size or np.isin(array, (0, 1)).all():
        return None
    if array.min() < 0:
        return SIGNED
    return QUANTISED if array.max() <= 255 and np.array_equal(array, np.round(array)) else RAW
