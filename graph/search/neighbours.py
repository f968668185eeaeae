"""The k most similar snippets of every snippet, exactly, by faiss. The only file that imports faiss.

The index (`IndexFlatIP`, exhaustive) holds the unit rows in float32: 4 · snippets · width bytes of memory. The lists
take 8 · snippets · k bytes. Queries go in batches, so nothing else grows with the corpus. CPU only for now.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Bool, Float32, Int
from safetensors.numpy import save

from graph.forests.forest import Edges
from graph.rows.matrix import BLOCK, Matrix
from launch.progress import track
from launch.refusal import Refusal

FORMAT = "soundsight-neighbours-v1"


@dataclass(frozen=True)
class Neighbours:
    """For each snippet its k most similar *other* snippets, by falling similarity."""

    indices: Int[np.ndarray, "snippet k"]
    similarities: Float32[np.ndarray, "snippet k"]

    @property
    def k(self) -> int:
        """Neighbours listed for each snippet."""
        return int(self.indices.shape[1])

    @property
    def weakest(self) -> Float32[np.ndarray, " snippet"]:
        """The k-th similarity: whatever a snippet's list leaves out is at most this similar to it."""
        return self.similarities[:, -1]

    def hubs(self, similarity: float) -> Bool[np.ndarray, " snippet"]:
        """Snippets whose k-th similarity is at least `similarity`: silence, black frames, mass re-uploads."""
        return self.weakest >= np.float32(similarity)

    def edges(self, floor: float, without: Bool[np.ndarray, " snippet"], block: int = BLOCK) -> Iterator[Edges]:
        """The listed pairs above the floor, except those with an end in `without`; `block` snippets' at a time."""
        for start in range(0, len(self.indices), block):
            near, similar = self.indices[start : start + block], self.similarities[start : start + block]
            keep = (similar > np.float32(floor)) & ~without[near] & ~without[start : start + block, None]
            row, column = np.nonzero(keep)
            yield Edges((row + start).astype(np.int32), near[row, column], similar[row, column])

    def save(self, path: Path, header: dict[str, str]) -> None:
        """Writes the lists as safetensors (`indices` int32, `similarities` float32) with a header."""
        tensors = {"indices": self.indices, "similarities": self.similarities}
        path.write_bytes(save(tensors, {**header, "format": FORMAT}))


def nearest(matrix: Matrix, k: int, batch: int = 1024) -> Neighbours:
    """The k nearest neighbours of every row of a matrix by cosine, itself left out; exact.

    Identical snippets count one by one, so a snippet repeated more than k times fills its own lists. Zero rows find
    neighbours at similarity 0, which no edge keeps. Raises Refusal when k is not below the number of snippets, and
    when faiss is missing or installed twice.
    """
    faiss = load_faiss()
    check_k(len(matrix), k)
    index = faiss.IndexFlatIP(matrix.width)
    for start in range(0, len(matrix), BLOCK):
        index.add(matrix.unit(np.s_[start : start + BLOCK]))
    indices = np.empty((len(matrix), k), np.int32)
    similarities = np.empty((len(matrix), k), np.float32)
    starts = range(0, len(matrix), batch)
    for start in track(starts, f"{matrix.feature} neighbours", len(starts), f"× {batch} snippets"):
        part = np.s_[start : start + batch]
        found, near = index.search(matrix.unit(part), k + 1)
        similarities[part], indices[part] = _without_self(start, found, near)
    return Neighbours(indices, similarities)


def check_k(snippets: int, k: int) -> None:
    """Raises Refusal when a list of k neighbours cannot be filled."""
    if k >= snippets:
        raise Refusal(
            f"A snippet's list can hold at most all other snippets, but k is {k} and the shards hold "
            f"{snippets} snippets: give --k a value below {snippets} or more videos."
        )


def load_faiss() -> ModuleType:
    """The faiss module; raises Refusal when none is installed, or several that overwrite each other's files."""
    installed = sorted(set(packages_distributions().get("faiss", [])))
    if len(installed) > 1:
        raise Refusal(
            f"Exactly one faiss may be installed, but {' and '.join(installed)} both are and overwrite each "
            f"other's files: pip uninstall {' '.join(installed)}, then install one of the extras .[cpu], "
            ".[cuda12], .[cuda13]."
        )
    try:
        import faiss
    except ImportError:
        raise Refusal(
            "The graph needs faiss, but it is not installed: pip install -e '.[cpu]' on a machine without a "
            "GPU, '.[cuda12]' for CUDA 12, or '.[cuda13]' for CUDA 13."
        ) from None
    return faiss


def _without_self(
    start: int, found: Float32[np.ndarray, "query k1"], near: Int[np.ndarray, "query k1"]
) -> tuple[Float32[np.ndarray, "query k"], Int[np.ndarray, "query k"]]:
    """The lists less each query itself; where more than k others tie with it and push it out, less the last."""
    own = near == np.arange(start, start + len(near))[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(near), near.shape[1] - 1)
    return found[~own].reshape(shape), near[~own].reshape(shape)
