from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graph.corpus import HubSettings, build_corpus
from graph.forests.forest import components
from graph.modality import Modality, build_both, build_videos
from graph.rows.matrix import Matrix
from graph.rows.write import write_matrices
from graph.search.search import SearchSettings
from shards.read import Shards

Draw = Callable[..., np.ndarray]


@pytest.fixture
def two_matrices(shard_set: Callable[..., Shards], tmp_path: Path, quarters: Draw) -> tuple[Matrix, Matrix]:
    random = np.random.default_rng(4)
    rows = {name: quarters(random, 150, width).reshape(15, 10, width) for name, width in (("one", 10), ("two", 9))}
    rows["one"][:, 5:] = rows["one"][3, 2]  # far more identical snippets than any list holds
    rows["two"][:, 4:9] = rows["two"][7, 1]
    shards = shard_set(rows)
    matrices = write_matrices(shards, rows, tmp_path)
    return matrices["one"], matrices["two"]


def side(name: str, matrix: Matrix, threshold: float, k: int = 4) -> Modality:
    built = build_corpus(name, matrix, 0.25, SearchSettings(k=k), HubSettings(exclude=False))
    return replace(built, threshold=threshold)


def cosines(matrix: Matrix) -> np.ndarray:
    rows = matrix.rows.astype(np.float32)
    return (rows @ rows.T) / 4


@pytest.mark.parametrize(("audio", "visual"), [(0.25, 0.25), (0.5, 0.25), (0.5, 0.75), (0.75, 0.75)])
def test_pairs_similar_in_both_modalities_give_the_brute_force_components(
    brute: Callable, two_matrices: tuple[Matrix, Matrix], audio: float, visual: float
) -> None:
    one, two = two_matrices
    both = build_both(side("audio", one, audio), side("visual", two, visual))
    expected = brute((cosines(one) > audio) & (cosines(two) > visual))
    np.testing.assert_array_equal(components(150, [both.cut(0)]), expected)


def test_edges_inside_videos_only_never_join_two_videos(brute: Callable, two_matrices: tuple[Matrix, Matrix]) -> None:
    one, two = two_matrices
    audio, visual = (
        replace(build_videos(name, matrix, 0.25), threshold=0.5) for name, matrix in (("audio", one), ("visual", two))
    )
    video = np.arange(150) // 10
    inside = video == video[:, None]
    either = brute(inside & ((cosines(one) > 0.5) | (cosines(two) > 0.5)))
    np.testing.assert_array_equal(components(150, [audio.forest.cut(0.5), visual.forest.cut(0.5)]), either)
    both = brute(inside & (cosines(one) > 0.5) & (cosines(two) > 0.5))
    np.testing.assert_array_equal(components(150, [build_both(audio, visual).cut(0)]), both)


def test_all_zero_rows_get_no_edges(matrix_of: Callable[..., Matrix], quarters: Draw) -> None:
    rows = quarters(np.random.default_rng(0), 100, 8)
    rows[::10] = 0
    built = side("audio", matrix_of(rows), 0.5)
    ends = np.concatenate([built.forest.edges.first, built.forest.edges.second])
    assert built.without.sum() == 10
    assert not built.without[ends].any()
