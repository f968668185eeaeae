"""The definition of the loss with the whole pair matrix in memory, and rows to try it on."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.loss.contrast import LossSettings

EXACT = {"rtol": 1e-12, "atol": 1e-12}
WAYS = {
    "one way": lambda first, second: first[:, None],
    "two ways": lambda first, second: torch.stack((first, second), 1),
    "the second all different": lambda first, _: torch.stack((first, torch.arange(len(first)).flip(0)), 1),
    "the second all alike": lambda first, _: torch.stack((first, torch.zeros_like(first)), 1),
    "the first all different": lambda _, second: torch.stack((torch.arange(len(second)), second), 1),
}


def dense(
    audio: Tensor,
    visual: Tensor,
    ids: Tensor,
    settings: LossSettings,
    present: Tensor | None = None,
    anchors: Tensor | None = None,
) -> Tensor:
    """The definition: rows are the audio rows, then the visual ones; a pair begins at an anchor where there are any."""
    rows, same = torch.cat((audio, visual)), (ids[:, None] == ids[None, :]).any(-1).repeat(2, 2)
    modality = torch.arange(2).repeat_interleave(len(ids))
    same_modality = modality[:, None] == modality[None, :]
    counted = {"uni": same_modality, "cross": ~same_modality, "multi": torch.ones_like(same_modality)}[settings.mode]
    counted = counted & ~torch.eye(len(rows), dtype=torch.bool)
    if present is not None:
        there = present.T.flatten()
        counted &= there[:, None] & there[None, :]
    if anchors is not None:
        counted &= torch.isin(torch.arange(len(ids)), anchors).repeat(2)[:, None]
    positive = same & counted
    negative = ~same & counted
    scores = rows @ rows.T
    attracted = (settings.positive_margin - scores).clamp(min=0)[positive]
    repelled = (scores - settings.negative_margin).clamp(min=0)[negative]
    sums = attracted.sum(), repelled.sum()
    if settings.reduction == "sum":
        return sums[0] + sums[1]
    if settings.reduction == "mean":
        return (sums[0] + sums[1]) / max(len(attracted) + len(repelled), 1)
    if settings.reduction == "balanced":
        return sums[0] / max(len(attracted), 1) + sums[1] / max(len(repelled), 1)
    return sums[0] / max(int((attracted > 0).sum()), 1) + sums[1] / max(int((repelled > 0).sum()), 1)


def snippets(count: int, components: int, seed: int = 0, ways: str = "one way") -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows around a common direction, so that every kind of hinge is active for some pairs only."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, count, 6, generator=generator, dtype=torch.float64) + 0.4
    ids = torch.randint(components, (2, count), generator=generator) * 7
    audio, visual = normalize(rows, dim=-1)
    return audio.requires_grad_(), visual.requires_grad_(), WAYS[ways](*ids)
