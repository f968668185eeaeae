"""A linear probe: how much of the labels a linear map of frozen rows can tell.

One ridge regression a class on standardised rows: it has one solution, whatever the width. Its strength is chosen on
videos left out of the fitting, so that wide and narrow rows, raw features and embeddings, each get their own.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pretrain.evaluation.ranking import average_precision

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge, as a share of the rows' mean variance (1 after standardising)."""
LEFT_OUT = 5
"""Every fifth video chooses the strength; then all are fitted with it."""


@dataclass(frozen=True)
class Labelled:
    """Rows and what is true of each."""

    rows: Float[Tensor, "row width"]
    labels: Bool[Tensor, "row category"]
    video: Int[Tensor, " row"]
    """Rows of one video are never split between fitting and choosing."""

    def where(self, chosen: Bool[Tensor, " row"]) -> "Labelled":
        """Some of the rows."""
        return Labelled(self.rows[chosen], self.labels[chosen], self.video[chosen])


@dataclass(frozen=True)
class Probed:
    """What a linear probe reached."""

    mean_average_precision: float
    """Over the categories that occur in both sets, in [0, 1]; NaN if none does."""
    strength: float


def linear_probe(known: Labelled, asked: Labelled) -> Probed:
    """The mean average precision on `asked` of a probe fitted to `known`; categories that either lacks are left out."""
    both = known.labels.any(0) & asked.labels.any(0)
    if not bool(both.any()):
        return Probed(float("nan"), float("nan"))
    numbers = known.video.unique(return_inverse=True)[1]
    choosing = numbers % LEFT_OUT == LEFT_OUT - 1
    strength = _best_strength(known.where(~choosing), known.where(choosing)) if bool(choosing.any()) else 1.0
    (scores,) = _fitted(known, asked.rows, (strength,))
    return Probed(_precision(scores[:, both], asked.labels[:, both]), strength)


def _best_strength(fitted: Labelled, choosing: Labelled) -> float:
    both = fitted.labels.any(0) & choosing.labels.any(0)
    if not bool(both.any()):
        return 1.0
    scores = _fitted(fitted, choosing.rows, STRENGTHS)
    reached = [_precision(each[:, both], choosing.labels[:, both]) for each in scores]
    return STRENGTHS[max(range(len(STRENGTHS)), key=reached.__getitem__)]


def _fitted(known: Labelled, rows: Tensor, strengths: tuple[float, ...]) -> list[Float[Tensor, "row category"]]:
    """The scores of rows by a ridge regression of each strength; a column that is constant in `known` is left out."""
    mean, deviation = known.rows.double().mean(0), known.rows.double().std(0, correction=0)
    varies = deviation > 1e-9
    given, asked = ((each.double() - mean)[:, varies] / deviation[varies] for each in (known.rows, rows))
    labels = known.labels.double()
    covariance = given.T @ given / len(given)
    target = given.T @ (labels - labels.mean(0)) / len(given)
    identity = torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
    factors = (torch.linalg.cholesky(covariance + strength * identity) for strength in strengths)
    return [asked @ torch.cholesky_solve(target, factor) for factor in factors]


def _precision(scores: Tensor, labels: Tensor) -> float:
    return float(average_precision(scores.T.contiguous(), labels.T.contiguous()).mean())
