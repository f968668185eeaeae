"""What the graph's tests share: brute force to compare with, and small shard sets to build from."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from graph.rows.matrix import Matrix
from graph.rows.write import write_matrices
from shards.read import Shards
from shards.schema import SECONDS, Feature, Video
from shards.write import Writer


@pytest.fixture(scope="session")
def brute() -> Callable[[np.ndarray], np.ndarray]:
    """The components of a boolean adjacency matrix by flooding; numbered by first appearance."""

    def flood(adjacent: np.ndarray) -> np.ndarray:
        ids = np.full(len(adjacent), -1)
        for start in range(len(adjacent)):
            if ids[start] < 0:
                reached, front = np.arange(len(adjacent)) == start, np.array([start])
                while len(front):
                    front = np.flatnonzero(adjacent[front].any(axis=0) & ~reached)
                    reached[front] = True
                ids[reached] = ids.max() + 1
        return ids

    return flood


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run root for all stages that tests start: making its database takes seconds."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def shard_set(tmp_path: Path) -> Callable[..., Shards]:
    """Writes arrays (video, second, width) by feature name as a shard set."""

    def write(
        arrays: Mapping[str, np.ndarray], name: str = "shards", variant: str = "", dtype: str = "float16"
    ) -> Shards:
        features = [Feature(key, rows.shape[2], variant, "test", dtype) for key, rows in arrays.items()]
        with Writer(tmp_path / name, features, {"test": name}, videos_per_shard=7) as writer:
            for video in range(len(next(iter(arrays.values())))):
                writer.add(Video(f"video{video:04d}_0_10", {key: rows[video] for key, rows in arrays.items()}))
        return Shards.open(tmp_path / name)

    return write


@pytest.fixture
def matrix_of(shard_set: Callable[..., Shards], tmp_path: Path) -> Callable[[np.ndarray], Matrix]:
    """The matrix of snippets' rows (snippet, width); the count must be a multiple of ten."""

    def write(rows: np.ndarray) -> Matrix:
        videos = rows.reshape(-1, SECONDS, rows.shape[1])
        return write_matrices(shard_set({"rows": videos}, name="rows"), ["rows"], tmp_path)["rows"]

    return write


@pytest.fixture(scope="session")
def quarters() -> Callable[..., np.ndarray]:
    """Rows with four ones each: length exactly 2, so every cosine is exactly 0, 0.25, 0.5, 0.75 or 1."""

    def draw(random: np.random.Generator, count: int, width: int = 16) -> np.ndarray:
        rows = np.zeros((count, width), np.float32)
        for row in rows:
            row[random.choice(width, 4, replace=False)] = 1
        return rows

    return draw


@pytest.fixture(scope="session")
def scenes() -> Callable[..., dict[str, np.ndarray]]:
    """A small world: each video shows a scene and plays a sound, mostly of the same kind; seconds differ a little."""

    def draw(videos: int, kinds: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
        random = np.random.default_rng(seed)
        kind = random.integers(kinds, size=videos)
        other = np.where(random.random(videos) < 0.1, random.integers(kinds, size=videos), kind)
        arrays = {}
        for name, width, which in (("vggish", 32, kind), ("resnet152", 64, other)):
            prototypes = random.gamma(0.6, size=(kinds, width))
            spread = np.exp(random.normal(0, 0.2, (videos, 1, width)) + random.normal(0, 0.1, (videos, SECONDS, width)))
            arrays[name] = (prototypes[which][:, None] * spread).astype(np.float32)
        return arrays

    return draw
