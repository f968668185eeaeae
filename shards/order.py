"""Who reads what when: pure arithmetic, without any file.

The sequence of global batches is a function of (manifest digest, seed, epoch, global batch size, position) alone, so
it is the same for every number of ranks, and a run that resumes at a step sees the batches it would have seen.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Order:
    """The global batches of a shard set: every video exactly once an epoch, the last batch of an epoch short."""

    digest: str
    """The shard set's manifest digest."""
    videos: int
    global_batch: int
    """Videos a global batch, over all ranks."""
    seed: int

    def __post_init__(self) -> None:
        if self.videos < 1 or self.global_batch < 1:
            raise ValueError(
                f"An order needs videos and a batch size of at least 1, not {self.videos}, {self.global_batch}."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Global batches an epoch, the short one included."""
        return -(-self.videos // self.global_batch)

    def epoch(self, number: int) -> NDArray[np.int64]:
        """The permutation of all videos in one epoch (0-based)."""
        return _permutation(f"{self.digest}/{self.seed}/{number}", self.videos)

    def batch(self, step: int) -> NDArray[np.int64]:
        """The videos of global batch number `step`, counted from 0 over all epochs."""
        number, position = divmod(step, self.steps_per_epoch)
        start = position * self.global_batch
        return self.epoch(number)[start : start + self.global_batch]


@lru_cache(maxsize=2)
def _permutation(identity: str, videos: int) -> NDArray[np.int64]:
    """Kept for the epoch at hand and its neighbour, so that a step costs a slice; read only.

    Sorts raw PCG64 words, which numpy guarantees to stay; what `Generator.permutation` draws may change with numpy.
    """
    state = int.from_bytes(hashlib.sha256(identity.encode()).digest(), "big")
    order = np.argsort(np.random.PCG64(state).random_raw(videos), kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


def part(batch: NDArray[np.int64], rank: int, size: int) -> NDArray[np.int64]:
    """One rank's contiguous slice of a global batch; floor or ceil of its share, possibly empty."""
    return batch[len(batch) * rank // size : len(batch) * (rank + 1) // size]
