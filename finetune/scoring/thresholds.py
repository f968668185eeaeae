"""Thresholds of their own for each modality and category, fitted on validation, as values that a parser carries along.

A threshold is chosen among the hundredths and the fixed one, so that the segment F of its category, counts added over
all validation videos, is best. The idea is CMPAE's (CVPR 2023); the code published with CoLeaF, which builds on it,
fits those of its visual gate, where ours are those of the seconds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from launch.refusal import Refusal
from shards.labels import CATEGORIES
from shards.schema import MODALITIES

Thresholds = Float[Tensor, "modality category"]
FITTED_ON = "validation"
"""The one split that thresholds are fitted on; test is never looked at."""
STEPS = np.arange(1, 100) / 100


def best_thresholds(
    probabilities: Float32[np.ndarray, "modality video category second"],
    allowed: Bool[np.ndarray, "modality video category second"],
    truth: Bool[np.ndarray, "modality video category second"],
    fixed: float,
) -> Float[np.ndarray, "modality category"]:
    """The threshold of each modality and category whose segment F is best; only `allowed` seconds may be positive.

    Of equals the one nearest `fixed` is taken, of two that are equally near the lower. A category that is never true
    keeps `fixed`.
    """
    steps = np.union1d(STEPS, fixed)
    # A second is positive at the lowest steps, as many as its probability reaches.
    reached = np.searchsorted(steps.astype(np.float32), probabilities, side="right") * allowed
    hits, positive = _at_least(reached, truth, len(steps)), _at_least(reached, np.ones_like(truth), len(steps))
    true = truth.sum(axis=(1, 3))
    f = 2 * hits / np.maximum(positive + true[..., None], 1)
    nearest_first = np.argsort(np.abs(steps - fixed), kind="stable")
    chosen = steps[nearest_first[f[..., nearest_first].argmax(axis=2)]]
    return np.where(true > 0, chosen, fixed)


def _at_least(
    reached: Int[np.ndarray, "modality video category second"],
    counted: Bool[np.ndarray, "modality video category second"],
    steps: int,
) -> Int[np.ndarray, "modality category step"]:
    """How many of the counted seconds of each modality and category reach at least each step."""
    modalities, _, categories, _ = reached.shape
    which = np.arange(modalities)[:, None, None, None] * categories + np.arange(categories)[:, None]
    bins = (which * (steps + 1) + reached)[counted]
    counts = np.bincount(bins, minlength=modalities * categories * (steps + 1))
    return counts.reshape(modalities, categories, steps + 1)[..., :0:-1].cumsum(axis=2)[..., ::-1]


def told(thresholds: Float[np.ndarray, "modality category"], conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Thresholds as JSON, with what they were fitted under: "audio" and "visual" in the order of the categories."""
    return {**conditions, **{name: each.tolist() for name, each in zip(MODALITIES, thresholds, strict=True)}}


def read(found: Any, conditions: Mapping[str, Any]) -> Thresholds:
    """The thresholds that `told` made; raises Refusal where there are none, or they were fitted under other conditions.

    `conditions` are the split and the gate that they must come from.
    """
    remedy = "train a parser again, or set protocol.thresholds to 'fixed'"
    if not isinstance(found, Mapping):
        raise Refusal(
            f"Thresholds per class come with the parser that they were fitted for, but it has none: {remedy}."
        )
    for name, wanted in conditions.items():
        if found.get(name) != wanted:
            raise Refusal(
                f"Thresholds per class must be used as they were fitted, but the parser's were fitted with the {name} "
                f"{found.get(name)!r}, not {wanted!r}: {remedy}."
            )
    try:
        values = np.array([found[name] for name in MODALITIES], np.float64)
    except (KeyError, TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (len(MODALITIES), len(CATEGORIES)) or not ((values >= 0) & (values <= 1)).all():
        raise Refusal(
            f"Thresholds per class must be {len(CATEGORIES)} numbers from 0 to 1 for each of {', '.join(MODALITIES)}, "
            f"but the parser's are not: {remedy}."
        )
    return torch.from_numpy(values).float()
