"""Rankings are scikit-learn's, whatever is tied, and say what chance is where scores say nothing."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from pretrain.evaluation.ranking import area_under_curve, average_precision, recall_at


def drawn(levels: int, seed: int) -> tuple[Tensor, Tensor]:
    """Scores of 12 queries and 30 keys with so many different values, and which keys are relevant."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (12, 30), generator=draw).double() / levels
    relevant = torch.rand(12, 30, generator=draw) < 0.2
    relevant[:, 0] = True
    return scores, relevant


@pytest.mark.parametrize(("levels", "seed"), itertools.product([1, 3, 10**6], range(3)))
def test_average_precision_is_scikit_learns_with_and_without_ties(levels: int, seed: int) -> None:
    scores, relevant = drawn(levels, seed)
    expected = [average_precision_score(y, s) for y, s in zip(relevant.numpy(), scores.numpy(), strict=True)]
    np.testing.assert_allclose(average_precision(scores, relevant), expected, rtol=1e-12)


@pytest.mark.parametrize(("levels", "seed"), itertools.product([1, 3, 10**6], range(3)))
def test_the_area_under_the_curve_is_scikit_learns_with_and_without_ties(levels: int, seed: int) -> None:
    scores, relevant = drawn(levels, seed)
    found = area_under_curve(scores[relevant], scores[~relevant])
    assert found == pytest.approx(roc_auc_score(relevant.flatten(), scores.flatten()), rel=1e-12)


def test_what_is_no_candidate_changes_no_average_precision() -> None:
    scores, relevant = drawn(10**6, 0)
    among = torch.cat((scores, torch.full((12, 5), -torch.inf)), 1)
    padded = torch.cat((relevant, torch.zeros(12, 5, dtype=torch.bool)), 1)
    torch.testing.assert_close(average_precision(among, padded), average_precision(scores, relevant))


def test_a_query_without_a_relevant_key_has_no_average_precision_and_no_recall() -> None:
    scores, relevant = drawn(10**6, 0)
    relevant[3] = False
    assert average_precision(scores, relevant).isnan().tolist() == [row == 3 for row in range(12)]
    others = [row for row in range(12) if row != 3]
    torch.testing.assert_close(recall_at(scores, relevant, 5), recall_at(scores[others], relevant[others], 5))


@pytest.mark.parametrize("k", [1, 5, 30, 99])
def test_recall_counts_the_queries_with_a_relevant_key_among_the_best(k: int) -> None:
    scores, relevant = drawn(10**6, 1)
    order = scores.argsort(1, descending=True)[:, :k]
    assert float(recall_at(scores, relevant, k)) == pytest.approx(
        float(relevant.gather(1, order).any(1).double().mean())
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_recall_among_equal_scores_is_that_of_a_random_order(k: int) -> None:
    """Every choice of k of the six tied keys is equally likely; one key is surely above them."""
    scores = torch.tensor([[2.0, 1, 1, 1, 1, 1, 1, 0]])
    relevant = torch.tensor([[False, True, False, True, False, False, False, True]])
    choices = list(itertools.combinations(range(1, 7), k - 1))
    expected = sum(bool({1, 3} & set(choice)) for choice in choices) / len(choices)
    assert float(recall_at(scores, relevant, k)) == pytest.approx(expected, abs=1e-12)
