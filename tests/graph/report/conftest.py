"""Modalities made of a forest alone or of rows, and a small planted world with its outcome."""

from collections.abc import Callable

import numpy as np
import pytest

from graph.forests.forest import Edges, Forest
from graph.modality import Modality
from graph.positives.decide import Outcome, decide
from graph.positives.thresholds import ThresholdSettings
from graph.rows.matrix import Matrix
from graph.search.neighbours import NOBODY, Neighbours


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


@pytest.fixture(scope="session")
def side_of_rows(side_of: Callable[..., Modality]) -> Callable[..., Modality]:
    """The modality of rows (snippet, width): every pair compared, and lists of k."""

    def make(rows: np.ndarray, name: str = "audio", threshold: float = 0.9, floor: float = 0.5, k: int = 6) -> Modality:
        bare = side_of(Forest.empty(len(rows)), name, threshold, floor, rows)
        every = np.arange(len(rows), dtype=np.int32)
        cosine = bare.matrix.tile(every, every)
        first, second = np.nonzero(np.triu(cosine > floor, 1))
        edges = Edges(first.astype(np.int32), second.astype(np.int32), cosine[first, second])
        np.fill_diagonal(cosine, -np.inf)
        near = np.argsort(-cosine, axis=1, kind="stable")[:, :k].astype(np.int32)
        similar = np.take_along_axis(cosine, near, axis=1)
        near[similar <= floor], similar[similar <= floor] = NOBODY, -np.inf
        forest = bare.forest.merge(edges)
        return Modality(**vars(bare) | {"forest": forest, "neighbours": Neighbours(near, similar)})

    return make


@pytest.fixture(scope="session")
def world(side_of_rows: Callable[..., Modality]) -> Callable[..., Outcome]:
    """The outcome for forty videos of twenty kinds; ten show another kind than they play."""

    def decided(
        match: str = "any", closure: str = "joint", refine: str = "propagation", threshold: float | None = None
    ) -> Outcome:
        random = np.random.default_rng(3)
        sound = np.arange(40) % 20
        picture = np.where(np.arange(40) < 10, sound + 1, sound)  # a chain of eleven kinds
        sides = []
        for name, kind, width in (("audio", sound, 24), ("visual", picture, 32)):
            rows = random.normal(size=(20, width))[kind].repeat(10, axis=0) + 0.3 * random.normal(size=(400, width))
            sides.append(side_of_rows(rows, name, floor=0.6))
        thresholds = {"audio": threshold, "visual": threshold}
        return decide(sides, thresholds, match, closure, refine, ThresholdSettings(levels=8), seed=0)

    return decided
