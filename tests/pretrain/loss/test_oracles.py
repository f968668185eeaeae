"""The loss is that of pytorch-metric-learning where the two define the same thing, in float64 to 1e-12.

Its SumReducer is our `sum`, its MeanReducer our `balanced`, its AvgNonZeroReducer our `active`: the latter two divide
the hinges of positives and of negatives each by their own number and add the two up. It has no mean over all pairs
alike; ours is its sum over the number of pairs that it lists. It finds the pairs of one block at a time (of one
modality's rows, without the diagonal; of two modalities' rows, with it), and one call sums over a mode's blocks.
"""

import itertools
from typing import get_args

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer, SumReducer
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.loss.contrast import LossSettings, contrast
from pretrain.loss.pairs import BLOCKS, Mode

REDUCERS = {"sum": SumReducer, "mean": SumReducer, "balanced": MeanReducer, "active": AvgNonZeroReducer}
MARGINS = {"pos_margin": 0.9, "neg_margin": 0.3, "distance": CosineSimilarity()}
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def rows_and_ids(count: int, components: int, seed: int = 4) -> tuple[Tensor, Tensor]:
    """Audio and visual rows of any length around a common direction, and a component a snippet."""
    draw = torch.Generator().manual_seed(seed)
    rows = 3 * torch.randn(2, count, 6, generator=draw, dtype=torch.float64) + 1.2
    return rows.requires_grad_(), torch.randint(components, (count,), generator=draw)


def listed(ids: Tensor, mode: Mode) -> list[Tensor]:
    """The pairs of a mode as the library finds them, in its words: anchors, positives, anchors, negatives."""
    parts = []
    for query, key in BLOCKS[mode]:
        found = get_all_pairs_indices(ids, ids if query == key else ids.clone())
        shift = [query * len(ids), key * len(ids)] * 2
        parts.append([index + by for index, by in zip(found, shift, strict=True)])
    return [torch.cat(each) for each in zip(*parts, strict=True)]


@pytest.mark.parametrize(("mode", "reduction"), itertools.product(get_args(Mode), REDUCERS))
@pytest.mark.parametrize("components", [1, 5, 40])
def test_loss_and_gradient_are_those_of_the_library(mode: Mode, reduction: str, components: int) -> None:
    rows, ids = rows_and_ids(count=31, components=components)
    unit = normalize(rows, dim=-1)
    settings = LossSettings.model_validate({"mode": mode, "reduction": reduction, "tile": 8})
    found = contrast(unit[0], unit[1], ids[:, None], settings)
    pairs = listed(ids, mode)
    library = ContrastiveLoss(**MARGINS, reducer=REDUCERS[reduction]())
    expected = library(rows.flatten(0, 1), indices_tuple=pairs)
    if reduction == "mean":
        expected = expected / (len(pairs[0]) + len(pairs[2]))
    assert (found.positives, found.negatives) == (len(pairs[0]), len(pairs[2]))
    torch.testing.assert_close(found.loss, expected, **EXACT)
    torch.testing.assert_close(torch.autograd.grad(found.loss, rows), torch.autograd.grad(expected, rows), **EXACT)


@pytest.mark.parametrize("reduction", ["sum", "balanced", "active"])
def test_the_library_told_only_labels_compares_the_same_pairs(reduction: str) -> None:
    rows, ids = rows_and_ids(count=31, components=5)
    (audio, visual), library = rows, ContrastiveLoss(**MARGINS, reducer=REDUCERS[reduction]())
    unit = normalize(rows, dim=-1)
    stacked = library(torch.cat((audio, visual)), ids.repeat(2))
    one_block = library(audio, ids, ref_emb=visual, ref_labels=ids.clone())
    for mode, expected in (("multi", stacked), ("cross", one_block * (2 if reduction == "sum" else 1))):
        settings = LossSettings.model_validate({"mode": mode, "reduction": reduction})
        found = contrast(unit[0], unit[1], ids[:, None], settings).loss
        torch.testing.assert_close(found, expected, **EXACT)
        slopes = (torch.autograd.grad(each, rows, retain_graph=True) for each in (found, expected))
        torch.testing.assert_close(*slopes, **EXACT)
