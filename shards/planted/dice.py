"""Random numbers that are the same on every machine, in every process order, and for every numpy version.

Only the raw words of PCG64, which numpy guarantees to stay, are drawn; everything made from them is integer
arithmetic, a table look-up, or one correctly rounded operation. Distributions of `np.random.Generator` may change
between numpy versions, so none is used.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from math import fsum, prod
from statistics import NormalDist

import numpy as np
from jaxtyping import Float32

_GRID = 4096  # normal quantiles are rounded to 1/4096, far coarser than any difference between machines


class Dice:
    """A stream of random numbers that depends on its names alone: `Dice(seed, "video", key)`."""

    def __init__(self, *names: str | int) -> None:
        digest = hashlib.sha256(json.dumps(names).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest, "big"))

    def uniform(self) -> float:
        """A number in [0, 1), a multiple of 2⁻⁵³."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def happens(self, probability: float) -> bool:
        """True with that probability."""
        return self.uniform() < probability

    def below(self, count: int) -> int:
        """An integer in [0, count), all equally likely."""
        return int(self.uniform() * count)

    def pick(self, weights: Sequence[float]) -> int:
        """An index, drawn in proportion to the weights (non-negative, not all zero)."""
        left = self.uniform() * fsum(weights)
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        return max(index for index, weight in enumerate(weights) if weight > 0)

    def normals(self, *shape: int) -> Float32[np.ndarray, "..."]:
        """Standard normal numbers, one of 65,536 quantiles each (so none exceeds 4.4 in size)."""
        count = prod(shape)
        words = self._bits.random_raw((count + 3) // 4).astype("<u8").view("<u2")[:count]
        return _quantiles()[words].reshape(shape)


@lru_cache
def _quantiles() -> Float32[np.ndarray, "65536"]:
    """The normal quantiles at the middles of 65,536 equal shares, exactly symmetric."""
    upper = [round(NormalDist().inv_cdf((index + 0.5) / 65536) * _GRID) / _GRID for index in range(32768, 65536)]
    half = np.array(upper, dtype=np.float32)
    return np.concatenate([-half[::-1], half])
