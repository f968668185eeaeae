"""One modality of a corpus, by every way to come to it: the components are those of brute force."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graph.corpus import Earlier, HubSettings, build_corpus
from graph.forests.forest import Forest, components
from graph.rows.matrix import Matrix
from graph.search import blocks, pairs
from graph.search.neighbours import Neighbours
from graph.search.search import Engine, SearchSettings

KEPT_HUBS = HubSettings(exclude=False)
LEVELS = np.linspace(0.6, 0.99, 14)


@pytest.fixture
def matrix(matrix_of: Callable[..., Matrix]) -> Matrix:
    """Crowds that no list of four holds, a chain, copies, scaled copies, and zero rows."""
    random = np.random.default_rng(0)
    crowds = np.repeat(random.normal(size=(5, 12)), 40, axis=0) + 0.35 * random.normal(size=(200, 12))
    angle = np.linspace(0, 2, 60)
    chain = np.zeros((60, 12))
    chain[:, 0], chain[:, 1] = 10 * np.cos(angle), 10 * np.sin(angle)
    rows = np.concatenate([crowds, chain, crowds[:40], 2 * crowds[:40], random.normal(size=(60, 12))])
    rows[[3, 250, 399]] = 0
    return matrix_of(rows[random.permutation(400)])


def agrees(brute: Callable, matrix: Matrix, engine: Engine, hubs: HubSettings = KEPT_HUBS) -> None:
    side = build_corpus("audio", matrix, 0.6, SearchSettings(k=4, engine=engine, batch=64), hubs)
    cosine = matrix.tile(np.arange(400), np.arange(400))
    allowed = ~side.without & ~side.without[:, None]
    values = cosine[allowed]
    checked = 0
    for level in LEVELS.tolist():
        if np.abs(values - level).min() < 1e-6:
            continue
        ids = components(400, [side.forest.cut(level)])
        np.testing.assert_array_equal(ids, brute((cosine > level) & allowed))
        checked += 1
    assert checked > 8
    assert 0 < side.saturated.mean() < 1
    assert side.exact


@pytest.mark.parametrize("engine", ["blocks", "faiss"])
@pytest.mark.parametrize("most", [400_000_000, 50])
@pytest.mark.parametrize("exclude", [False, True])
def test_components_are_those_of_brute_force_whether_or_not_every_pair_was_kept(
    brute: Callable, matrix: Matrix, monkeypatch: pytest.MonkeyPatch, engine: Engine, most: int, exclude: bool
) -> None:
    monkeypatch.setattr(pairs, "MOST", most)
    monkeypatch.setattr(blocks, "WIDTH", 64)
    monkeypatch.setattr(blocks, "GROUP", 2)
    agrees(brute, matrix, engine, HubSettings(exclude=exclude, similarity=0.97))


def test_lists_with_copies_beside_scaled_copies_can_be_read_back(matrix: Matrix, tmp_path: Path) -> None:
    """A float32 product of a row and its scaled copy may round to more than that of the row with itself."""
    side = build_corpus("audio", matrix, 0.6, SearchSettings(k=4), KEPT_HUBS)
    side.neighbours.save(tmp_path / "lists.safetensors", "abc")
    loaded = Neighbours.load(tmp_path / "lists.safetensors")
    np.testing.assert_array_equal(loaded.indices, side.neighbours.indices)
    assert loaded.similarities.max() == 1
    assert side.copies >= 39


@pytest.mark.parametrize("engine", ["ivf", "hnsw"])
def test_an_approximate_search_is_called_so_and_its_lists_make_no_exact_graph(matrix: Matrix, engine: Engine) -> None:
    chosen = SearchSettings(k=4, engine=engine, batch=64, cells=4, probes=4)
    side = build_corpus("audio", matrix, 0.6, chosen, KEPT_HUBS)
    exact = build_corpus("audio", matrix, 0.6, SearchSettings(k=4), KEPT_HUBS)
    assert not side.exact
    few, all_ = (components(400, [each.forest.cut(0.8)]).max() for each in (side, exact))
    assert all_ <= few < all_ + 40
    grown = build_corpus(
        "audio",
        matrix,
        0.6,
        SearchSettings(k=4),
        KEPT_HUBS,
        earlier=Earlier(side.neighbours, np.arange(400), side.exact),
    )
    assert grown.engine == "blocks, on the lists of an earlier graph"
    assert not grown.exact


def test_an_approximate_search_with_too_many_pairs_still_makes_a_graph_of_its_lists(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MOST", 50)
    side = build_corpus("audio", matrix, 0.6, SearchSettings(k=4, engine="ivf", cells=4, probes=4), KEPT_HUBS)
    listed = Forest.grown(400, side.neighbours.edges(0.6, side.without))
    found, least = (components(400, [each.cut(0.8)]) for each in (side.forest, listed))
    assert 0 < found.max() <= least.max()  # lists of originals, before copies took places in them
    assert not side.exact


def test_a_modality_without_any_signal_has_no_edges(matrix_of: Callable[..., Matrix]) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 40))
    side = build_corpus("audio", matrix_of(rows), 0.95, SearchSettings(k=4), KEPT_HUBS)
    assert len(side.forest.edges) == 0
    assert not side.saturated.any()
