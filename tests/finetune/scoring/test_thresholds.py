"""Thresholds per class equal a plain search, are chosen by rule among equals, and are refused where they do not fit."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.scoring.metrics import category_scores
from finetune.scoring.thresholds import STEPS, best_thresholds, read, told
from launch.refusal import Refusal

CONDITIONS = {"split": "validation", "gate": "global", "gate_threshold": 0.5}


def example(seed: int, decimals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dice = np.random.default_rng(seed)
    probabilities = dice.random((2, 6, 3, 10)).round(decimals).astype(np.float32)
    allowed, truth = dice.random((2, 6, 3, 1)) < 0.7, dice.random((2, 6, 3, 10)) < 0.4
    truth[1, :, 2] = False
    return probabilities, np.broadcast_to(allowed, truth.shape), truth


def plain_f(probabilities: np.ndarray, allowed: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    positive = (torch.from_numpy(probabilities) >= threshold).numpy() & allowed
    hits, false, missed = (positive & truth).sum(), (positive & ~truth).sum(), (~positive & truth).sum()
    return 2 * hits / (2 * hits + false + missed) if truth.any() else 0.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), decimals=st.sampled_from([1, 2, 6]), fixed=st.sampled_from([0.5, 0.25, 1 / 3]))
def test_thresholds_equal_a_plain_search(seed: int, decimals: int, fixed: float) -> None:
    probabilities, allowed, truth = example(seed, decimals)
    found = best_thresholds(probabilities, allowed, truth, fixed)
    for modality, category in np.ndindex(2, 3):
        of = [each[modality, :, category] for each in (probabilities, allowed, truth)]
        best, chosen = -1.0, fixed
        for step in sorted({*STEPS.tolist(), fixed}, key=lambda step: (abs(step - fixed), step)):
            if (score := plain_f(*of, step)) > best and of[2].any():
                best, chosen = score, step
        assert found[modality, category] == chosen


def test_no_category_fares_worse_by_its_own_threshold_than_by_the_fixed_one() -> None:
    probabilities, allowed, truth = example(3, 6)
    found = best_thresholds(probabilities, allowed, truth, 0.5)
    for modality in (0, 1):
        own = (probabilities[modality] >= found[modality, :, None].astype(np.float32)) & allowed[modality]
        fixed = (probabilities[modality] >= 0.5) & allowed[modality]
        pairs = zip(category_scores(own, truth[modality]), category_scores(fixed, truth[modality]), strict=True)
        assert all(one >= other for one, other in pairs if one is not None and other is not None)


def test_a_category_that_is_never_true_keeps_the_fixed_threshold() -> None:
    probabilities, allowed, truth = example(0, 6)
    assert best_thresholds(probabilities, allowed, truth, 0.37)[1, 2] == 0.37


def test_of_equal_thresholds_the_one_nearest_the_fixed_is_taken_and_of_two_the_lower() -> None:
    probabilities = np.full((2, 1, 1, 2), 0.1, np.float32)
    probabilities[..., 0] = 0.9
    truth = np.zeros((2, 1, 1, 2), bool)
    truth[..., 0] = True
    anything = np.ones_like(truth)
    assert best_thresholds(probabilities, anything, truth, 0.5).tolist() == [[0.5], [0.5]]
    assert best_thresholds(probabilities, anything, truth, 0.05).tolist() == [[0.11], [0.11]]
    probabilities[..., 1] = 0.9  # as probable, and false: nothing tells them apart, so nothing moves
    assert best_thresholds(probabilities, anything, truth, 0.5).tolist() == [[0.5], [0.5]]
    truth[...], probabilities[...] = True, 0.3
    assert best_thresholds(probabilities, anything, truth, 0.5).tolist() == [[0.3], [0.3]]


def test_only_allowed_seconds_count_as_positive() -> None:
    probabilities, truth = np.full((2, 1, 1, 4), 0.2, np.float32), np.array([[[[True, True, False, False]]]] * 2)
    allowed = truth.copy()
    assert best_thresholds(probabilities, allowed, truth, 0.5).tolist() == [[0.2], [0.2]]
    assert best_thresholds(probabilities, ~allowed, truth, 0.5).tolist() == [[0.5], [0.5]]


def test_what_is_told_is_read_back_under_the_same_conditions() -> None:
    values = np.random.default_rng(0).random((2, 25)).round(2)
    found = read(told(values, CONDITIONS), CONDITIONS)
    assert torch.equal(found, torch.from_numpy(values).float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "test"}, "the split 'test', not 'validation'"),
        ({"gate": "none"}, "the gate 'none', not 'global'"),
        ({"gate_threshold": 0.4}, r"the gate_threshold 0\.4, not 0\.5"),
        ({"audio": [0.5] * 24}, "must be 25 numbers"),
        ({"visual": [0.5] * 24 + [1.5]}, "must be 25 numbers"),
        ({"visual": ["half"] * 25}, "must be 25 numbers"),
        ({"audio": None}, "must be 25 numbers"),
        ({"audio": [float("nan")] * 25}, "must be 25 numbers"),
    ],
)
def test_thresholds_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=message):
        read(told(np.full((2, 25), 0.5), CONDITIONS) | change, CONDITIONS)


def test_a_parser_without_thresholds_is_refused() -> None:
    with pytest.raises(Refusal, match=r"it has none: train a parser again, or set protocol\.thresholds to 'fixed'"):
        read(None, CONDITIONS)
