"""The neighbour lists: for every snippet the k most similar others above a floor."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from graph.forests.forest import Edges
from graph.rows.matrix import BLOCK
from launch.refusal import Refusal

FORMAT = "soundsight-neighbours-v2"
NOBODY = -1
"""In place of a neighbour where a list ends before k; its similarity is -infinity."""


@dataclass(frozen=True)
class Neighbours:
    """For each snippet its k most similar *other* snippets above a floor, by falling similarity."""

    indices: Int[np.ndarray, "snippet k"]
    """int32; NOBODY where there is no further one above the floor."""
    similarities: Float32[np.ndarray, "snippet k"]

    @property
    def k(self) -> int:
        """Neighbours a list can hold."""
        return int(self.indices.shape[1])

    @property
    def weakest(self) -> Float32[np.ndarray, " snippet"]:
        """The k-th similarity: a pair above the floor that a list leaves out is at most this similar."""
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

    def save(self, path: Path, manifest: str) -> None:
        """Writes the lists as safetensors (`indices` int32, `similarities` float32)."""
        tensors = {"indices": self.indices, "similarities": self.similarities}
        path.write_bytes(save(tensors, {"about": f"{FORMAT} {manifest}"}))

    @classmethod
    def load(cls, path: Path) -> "Neighbours":
        """The lists of a file; raises Refusal for a file that holds none."""
        try:
            with safe_open(path, "np") as file:
                lists = cls(file.get_tensor("indices"), file.get_tensor("similarities"))
                about = (file.metadata() or {}).get("about", "")
        except (SafetensorError, OSError) as error:
            raise Refusal(
                f"Neighbour lists must be a safetensors file, but '{path}' is not ({error}): build the graph again."
            ) from None
        if not about.startswith(FORMAT) or not lists._sound():
            raise Refusal(
                f"Neighbour lists must name known snippets by falling similarity, but '{path}' does not (altered, or "
                "another program's): build the graph again."
            )
        return lists

    def _sound(self) -> bool:
        indices, similarities = self.indices, self.similarities
        shapes = indices.ndim == 2 and indices.shape == similarities.shape and indices.shape[1] > 0
        if not shapes or indices.dtype != np.int32 or similarities.dtype != np.float32:
            return False
        inside = indices.min(initial=NOBODY) >= NOBODY and indices.max(initial=NOBODY) < len(indices)
        falling = bool(np.all(similarities[:, 1:] <= similarities[:, :-1]))
        return bool(inside and falling and np.array_equal(indices == NOBODY, similarities == -np.inf))
