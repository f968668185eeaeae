"""From what a parser made of a modality to how likely a weak label holds there.

A video is labelled with a category when it is heard or seen. Let a parser see one modality only, not this video, and
let g be the share of labelled videos among those it gives the same probability. Where the category is not in the
modality, the label can only come from the other one, with some base rate π; where it is, the label is certain. So
g = s + (1 − s)·π, with s the probability of its being there, and given the label s/g = (g − π) / ((1 − π)·g).

π is taken to be one number for a category. Where some videos without it are more often labelled than others (silent
people are seen where somebody speaks), it is too small, and more labels are kept; a larger `unlikely`, which takes in
videos that do show it, works against that, most for common categories.

g is the isotonic regression of the labels on the parser's probabilities; π is the share of labelled videos among the
`unlikely` share of videos with the lowest probabilities. The complement of the mean of s/g over a category's labelled
videos is its noise ratio: the share of its labels that do not hold in this modality.
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import isotonic_regression
from torch import Tensor

from finetune.cleaning.targets import Labels, OfModalities


def posterior(probabilities: OfModalities, labels: Labels, unlikely: float) -> OfModalities:
    """How likely each label holds in each modality, 0 to 1; 0 where the video does not have the label.

    A category keeps its labels where the unlikely videos are all labelled with it, or none is: then it is told apart
    without a doubt, or nothing can be learnt of it.
    """
    wanted = labels.cpu().double().numpy()
    found = [
        [_of_category(column, wanted[:, category], unlikely) for category, column in enumerate(each.T)]
        for each in probabilities.cpu().double().numpy()
    ]
    kept = torch.from_numpy(np.array(found)).transpose(1, 2).to(labels)
    return kept * labels


def noise_ratios(likely: OfModalities, labels: Labels) -> Float[Tensor, "modality category"]:
    """The share of each category's labels that do not hold in each modality; 0 for a category without labels."""
    count = labels.sum(dim=0)
    return torch.where(count > 0, 1 - likely.sum(dim=1) / count.clamp(min=1), 0.0)


def _of_category(
    probability: Float[np.ndarray, " video"], label: Float[np.ndarray, " video"], unlikely: float
) -> Float[np.ndarray, " video"]:
    order = np.argsort(probability, kind="stable")
    averaged = _ties_averaged(probability, label)[order]
    base = averaged[: max(1, round(unlikely * len(order)))].mean()
    if base in (0, 1):
        return np.ones_like(label)
    rate = np.empty_like(label)
    rate[order] = isotonic_regression(averaged).x
    return np.clip((rate - base) / ((1 - base) * np.maximum(rate, base)), 0, 1)


def _ties_averaged(
    probability: Float[np.ndarray, " video"], label: Float[np.ndarray, " video"]
) -> Float[np.ndarray, " video"]:
    """The labels, each the mean of all videos with the same probability: there is no order among equals."""
    _, place, count = np.unique(probability, return_inverse=True, return_counts=True)
    return (np.bincount(place, label) / count)[place]
