"""The planted corpus is what it says it is, and the truth counts what a loop over all pairs counts."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from shards.schema import SECONDS
from tests.bench.planted_graph import NONE, Planted, Truth, planted
from tests.bench.truth_graph import verdict


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return planted(tmp_path_factory.mktemp("planted"), videos=1500)


def drawn_truth(random: np.random.Generator, snippets: int) -> Truth:
    audio, visual = random.integers(NONE, 4, (2, snippets))
    return Truth(audio, visual, np.zeros(snippets, bool), np.zeros(snippets, bool))


@pytest.mark.parametrize("ways", [1, 2])
def test_wrong_and_found_pairs_are_those_that_a_loop_finds(ways: int) -> None:
    random = np.random.default_rng(ways)
    truth, ids = drawn_truth(random, 80), random.integers(0, 9, (80, ways))
    positive = wrong = shared = 0
    linked = set()
    for one, other in combinations(range(80), 2):
        if one // SECONDS == other // SECONDS:
            continue
        same = bool((ids[one] == ids[other]).any())
        shares = any(column[one] == column[other] != NONE for column in (truth.audio, truth.visual))
        positive, wrong, shared = positive + same, wrong + (same and not shares), shared + shares
        linked |= {one, other} if same else set()
    found = verdict(ids, truth)
    assert found.wrong == pytest.approx(wrong / positive)
    assert found.found == pytest.approx((positive - wrong) / shared)
    assert found.linked == len(linked) / 80
    assert found.largest == max(np.bincount(way).max() for way in ids.T) / 80


def test_a_labelling_without_positives_is_not_wrong() -> None:
    found = verdict(np.arange(40)[:, None], drawn_truth(np.random.default_rng(0), 40))
    assert (found.wrong, found.linked, found.found) == (0, 0, 0)


def test_the_planted_corpus_has_its_bridges_quiet_seconds_and_copies(corpus: Planted) -> None:
    truth = corpus.truth
    assert truth.bridge.mean() == pytest.approx(0.3, abs=0.04)
    assert (truth.audio == NONE).mean() == pytest.approx(0.04, abs=0.015)
    assert (truth.visual == NONE).mean() == pytest.approx(0.015, abs=0.01)
    assert truth.copy.mean() == pytest.approx(0.015, abs=0.008)
    agree = (truth.audio == truth.visual).reshape(-1, SECONDS)
    assert agree[~truth.bridge[::SECONDS]].mean() > 5 * agree[truth.bridge[::SECONDS]].mean()
    exact = len(corpus.audio) - len(np.unique(corpus.audio.digests, axis=0))
    assert 0 < exact < truth.copy.sum()


def test_planted_features_lean_one_way_as_rectified_ones_do(corpus: Planted) -> None:
    first, second = np.random.default_rng(0).integers(0, len(corpus.audio), (2, 20_000))
    for matrix in (corpus.audio, corpus.visual):
        assert 0.2 < np.median(matrix.pairs(first, second)) < 0.5


def test_the_same_seed_plants_the_same_corpus(corpus: Planted, tmp_path: Path) -> None:
    again = planted(tmp_path, videos=1500)
    assert np.array_equal(again.audio.rows, corpus.audio.rows)
    assert np.array_equal(again.truth.visual, corpus.truth.visual)
    other = planted(tmp_path, videos=1500, seed=1)
    assert not np.array_equal(other.truth.visual, corpus.truth.visual)
