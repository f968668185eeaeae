"""A linear probe finds what is linear in the rows, chooses its strength, and knows nothing where there is nothing."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

from pretrain.evaluation import linear
from pretrain.evaluation.linear import Labelled, linear_probe


def drawn(videos: int, seed: int, signal: float = 1.0, width: int = 12) -> Labelled:
    """Ten rows a video; three categories lie along three directions, under noise."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.rand(videos * 10, 3, generator=draw) < 0.2
    rows = torch.randn(videos * 10, width, generator=draw)
    rows[:, :3] += signal * labels
    return Labelled(rows * 5 + 3, labels, torch.arange(videos).repeat_interleave(10))


def test_a_probe_is_scikit_learns_ridge_on_standardised_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "STRENGTHS", (0.1,))
    known, asked = drawn(30, 0), drawn(20, 1)
    mean, deviation = known.rows.mean(0), known.rows.std(0, correction=0)
    ridge = Ridge(alpha=0.1 * len(known.rows)).fit((known.rows - mean) / deviation, known.labels.double())
    scores = ridge.predict((asked.rows - mean) / deviation)
    expected = np.mean([average_precision_score(y, s) for y, s in zip(asked.labels.T, scores.T, strict=True)])
    assert linear_probe(known, asked).mean_average_precision == pytest.approx(expected, abs=1e-6)


def test_what_is_linear_is_found_and_what_is_not_there_is_not() -> None:
    assert linear_probe(drawn(60, 0, signal=8), drawn(60, 1, signal=8)).mean_average_precision > 0.99
    assert linear_probe(drawn(60, 0, signal=0), drawn(60, 1, signal=0)).mean_average_precision < 0.3


def test_rows_wider_than_many_choose_a_greater_strength_than_rows_with_little_noise() -> None:
    weak = linear_probe(drawn(10, 0, 0.5, width=200), drawn(60, 1, 0.5, width=200))
    strong = linear_probe(drawn(60, 0, 8), drawn(60, 1, 8))
    assert weak.strength > strong.strength


def test_scale_and_offset_of_a_column_and_a_constant_one_change_nothing() -> None:
    known, asked = drawn(30, 0), drawn(20, 1)
    scale, offset = torch.linspace(0.1, 9, 12), torch.linspace(-5, 5, 12)

    def moved(each: Labelled) -> Labelled:
        rows = torch.cat((each.rows * scale + offset, torch.full((len(each.rows), 1), 7.0)), 1)
        return Labelled(rows, each.labels, each.video)

    expected = linear_probe(known, asked).mean_average_precision
    assert linear_probe(moved(known), moved(asked)).mean_average_precision == pytest.approx(expected, abs=1e-4)


def test_categories_that_one_side_lacks_do_not_count() -> None:
    known, asked = drawn(30, 0), drawn(20, 1)
    known.labels[:, 2] = False
    two = [Labelled(each.rows, each.labels[:, :2], each.video) for each in (known, asked)]
    assert linear_probe(known, asked).mean_average_precision == linear_probe(*two).mean_average_precision
    known.labels[:] = False
    assert np.isnan(linear_probe(known, asked).mean_average_precision)
