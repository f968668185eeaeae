"""Modalities made of a forest alone, for what is counted from edges."""

from collections.abc import Callable

import numpy as np
import pytest

from graph.forests.forest import Edges, Forest
from graph.modality import Modality
from graph.rows.matrix import Matrix


@pytest.fixture(scope="session")
def side_of() -> Callable[..., Modality]:
    """The modality of a forest; its rows are random directions, or those given."""

    def make(
        forest: Forest, name: str = "audio", threshold: float = 0.9, floor: float = 0.5, rows: np.ndarray | None = None
    ) -> Modality:
        if rows is None:
            rows = np.random.default_rng(5).normal(size=(forest.nodes, 8))
        none = np.zeros(forest.nodes, bool)
        digests = np.zeros((forest.nodes, 16), np.uint8)
        matrix = Matrix(f"feature_{name}", "digest", rows.astype(np.float16), none, digests)
        bar = np.full(forest.nodes, floor, np.float32)
        return Modality(
            name, matrix, threshold, floor, forest, None, bar, none, none, none, copies=0, engine="blocks", exact=True
        )

    return make


@pytest.fixture(scope="session")
def random_forest() -> Callable[..., Forest]:
    """A forest over videos of ten seconds, of random edges with similarities in steps, so that many are equal."""

    def draw(random: np.random.Generator, videos: int, edges: int, steps: int = 8) -> Forest:
        first, second = random.integers(0, videos * 10, (2, edges)).astype(np.int32)
        near = random.random(edges) < 0.5  # seconds of one video, as often as not
        second = np.where(near, first // 10 * 10 + second % 10, second)
        similarity = (0.5 + random.integers(1, steps + 1, edges) / (2 * steps)).astype(np.float32)
        return Forest.grown(videos * 10, [Edges(first, second.astype(np.int32), similarity)])

    return draw
