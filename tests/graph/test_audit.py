from collections.abc import Callable

import numpy as np
import pytest

from graph.audit import audit
from graph.forests.forest import components
from graph.modality import Modality, build_corpus
from graph.rows.matrix import Matrix
from graph.search.neighbours import nearest


@pytest.fixture
def side(matrix_of: Callable[..., Matrix]) -> Modality:
    random = np.random.default_rng(0)
    rows = np.repeat(random.normal(size=(30, 24)), 10, axis=0) + random.normal(0, 0.25, size=(300, 24))
    matrix = matrix_of(rows)
    return build_corpus("audio", matrix, nearest(matrix, 5), (0.9, 0.6), 1.0, exclude_hubs=False)


@pytest.mark.parametrize("snippets", [60, 2000])
def test_a_right_labelling_passes(side: Modality, snippets: int) -> None:
    ids = components(300, [side.forest.cut(0.9)])
    found = audit(ids, [side], "any", "corpus", seed=0, snippets=snippets)
    assert found.agrees
    assert found.edges > 0
    assert found.snippets == min(snippets, 300)
    assert "agree" in found.sentence()


def test_a_missed_merge_is_found(side: Modality) -> None:
    ids = components(300, [side.forest.cut(0.9)])
    largest = int(np.bincount(ids).argmax())
    split = np.where((ids == largest) & (np.cumsum(ids == largest) % 2 == 0), ids.max() + 1, ids)
    found = audit(split, [side], "any", "corpus", seed=0)
    assert found.wrongly_apart > 0
    assert "DISAGREE" in found.sentence()


def test_a_wrong_merge_is_found(side: Modality) -> None:
    ids = components(300, [side.forest.cut(0.9)])
    merged = np.unique(np.where(ids == 1, 0, ids), return_inverse=True)[1]
    assert audit(merged, [side], "any", "corpus", seed=0).wrongly_joined == 1
