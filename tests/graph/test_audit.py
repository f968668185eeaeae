from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from graph.audit import audit, missed
from graph.corpus import HubSettings, build_corpus
from graph.forests.forest import Forest, components
from graph.modality import Modality
from graph.rows.matrix import Matrix
from graph.search.search import SearchSettings


@pytest.fixture
def side(matrix_of: Callable[..., Matrix]) -> Modality:
    random = np.random.default_rng(0)
    rows = np.repeat(random.normal(size=(30, 24)), 10, axis=0) + random.normal(0, 0.25, size=(300, 24))
    matrix = matrix_of(rows)
    built = build_corpus("audio", matrix, 0.6, SearchSettings(k=5), HubSettings(exclude=False))
    return replace(built, threshold=0.9)


@pytest.mark.parametrize("snippets", [60, 2000])
def test_a_right_labelling_passes(side: Modality, snippets: int) -> None:
    ids = components(300, [side.forest.cut(0.9)])
    found = audit("joint", ids, [side], "any", "corpus", seed=0, snippets=snippets)
    assert not found.faulty
    assert found.edges > 0
    assert found.snippets == min(snippets, 300)
    assert "agree" in found.sentence()


def test_a_missed_merge_is_found(side: Modality) -> None:
    ids = components(300, [side.forest.cut(0.9)])
    largest = int(np.bincount(ids).argmax())
    split = np.where((ids == largest) & (np.cumsum(ids == largest) % 2 == 0), ids.max() + 1, ids)
    found = audit("joint", split, [side], "any", "corpus", seed=0)
    assert found.wrongly_apart > 0
    assert found.faulty
    assert "DISAGREE (" in found.sentence()


def test_a_wrong_merge_is_found(side: Modality) -> None:
    ids = components(300, [side.forest.cut(0.9)])
    merged = np.unique(np.where(ids == 1, 0, ids), return_inverse=True)[1]
    assert audit("joint", merged, [side], "any", "corpus", seed=0).wrongly_joined == 1


def test_an_approximate_graph_may_miss_merges_and_is_told_which(side: Modality) -> None:
    """All edges of one snippet are taken away, as an index would that never lists it."""
    edges = side.forest.edges
    lonely = int(edges.first[edges.similarity > 0.9][0])
    kept = edges.where((edges.first != lonely) & (edges.second != lonely))
    approximate = replace(side, forest=Forest(300, kept), exact=False, engine="hnsw")
    ids = components(300, [approximate.forest.cut(0.9)])
    assert not audit("joint", ids, [approximate], "any", "corpus", seed=0).faulty
    found = missed(approximate, seed=0, probes=300)
    cosine = side.matrix.tile(np.arange(300), np.arange(300))
    np.fill_diagonal(cosine, 0)
    assert found.edges == (cosine > 0.9).sum()
    assert found.apart == ((cosine > 0.9) & (ids != ids[:, None])).sum()
    whole = components(300, [side.forest.cut(0.9)])
    assert found.merges == ids.max() - whole.max()
    assert "approximate audio search (hnsw)" in found.sentence()


def test_an_exact_graph_misses_nothing(side: Modality) -> None:
    assert missed(side, seed=0, probes=300).apart == 0
