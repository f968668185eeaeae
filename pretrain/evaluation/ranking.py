"""How well scores put what is relevant first: average precision, recall at k, area under the ROC curve.

Equal scores are one rank: embeddings that cannot tell snippets apart gain nothing by the order they are stored in.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def average_precision(
    scores: Float[Tensor, "query key"], relevant: Bool[Tensor, "query key"]
) -> Float[Tensor, " query"]:
    """Mean over each query's relevant keys of the precision at their rank, in [0, 1]; NaN for a query without any.

    Keys of equal score are retrieved together, as in scikit-learn. A key at -inf is no candidate; it must not be
    relevant.
    """
    falling, order = (-scores).sort(dim=1)
    hits = relevant.gather(1, order).double()
    found = hits.cumsum(1)
    end = torch.searchsorted(falling, falling, right=True)
    precision = found.gather(1, end - 1) / end
    return (precision * hits).sum(1) / hits.sum(1)


def recall_at(scores: Float[Tensor, "query key"], relevant: Bool[Tensor, "query key"], k: int) -> Float[Tensor, ""]:
    """Share of the queries with a relevant key among their k best (R@k), of those that have a relevant one; else NaN.

    A query counts with the chance that k keys drawn in the order of their scores, equal ones at random, hold one.
    """
    k = min(k, scores.shape[1])
    least = scores.topk(k, dim=1).values[:, -1:]
    above = scores > least
    tied = scores == least
    sure = (above & relevant).any(1)
    drawn = k - above.sum(1)
    ties, wrong = tied.sum(1), (tied & ~relevant).sum(1)
    missed = _none_drawn(ties, wrong, drawn)
    chance = torch.where(sure, 1.0, 1.0 - missed)
    return chance[relevant.any(1)].mean()


def area_under_curve(positive: Float[Tensor, " positive"], negative: Float[Tensor, " negative"]) -> float:
    """The chance that a positive's score exceeds a negative's, an equal one counting half (AUC); NaN without either."""
    if not len(positive) or not len(negative):
        return float("nan")
    ordered = negative.sort().values
    below, upto = (torch.searchsorted(ordered, positive, right=right) for right in (False, True))
    return float((below + upto).double().mean() / (2 * len(negative)))


def _none_drawn(ties: Tensor, wrong: Tensor, drawn: Tensor) -> Float[Tensor, " query"]:
    """The chance that `drawn` of `ties` equal keys, of which `wrong` are not relevant, are all of the latter."""
    total, bad, some = ties.double(), wrong.double(), drawn.double()
    chosen = torch.lgamma(bad + 1) - torch.lgamma((bad - some).clamp(min=0) + 1)
    every = torch.lgamma(total + 1) - torch.lgamma(total - some + 1)
    return torch.where(some > bad, 0.0, (chosen - every).exp())
