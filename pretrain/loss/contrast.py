"""The contrastive loss of equations (3) to (5) over all ordered pairs of the global batch, on any ranks.

    L = Σ_pos w⁺ [p - ⟨z_i, z_j⟩]₊ + Σ_neg w⁻ [⟨z_i, z_j⟩ - n]₊

The pair matrix is never stored: see `sweep`. Scores and labels are symmetric, so from one all-gather of
embeddings a rank computes the complete gradient of its own rows (ordered pairs (i, j) and (j, i): a factor
2), and nothing travels in the backward pass. Every rank returns the same, whole loss; the gradient of a
parameter is the SUM over ranks.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor
from torch.autograd.function import once_differentiable

from launch.settings import Settings
from pretrain.loss.pairs import BLOCKS, Mode, Totals, gather, totals
from pretrain.loss.sweep import Rows, Weights, sweep


class LossSettings(Settings):
    """Which pairs are compared and how their hinges are added up."""

    mode: Mode = Field("multi", description="pairs: within a modality (uni), between them (cross), both (multi)")
    reduction: Literal["balanced", "mean", "sum", "active"] = Field(
        "balanced",
        description="sum (the paper), mean over all pairs, mean of positives + mean of negatives (balanced), "
        "or the same over hinges above zero (active)",
    )
    positive_margin: float = Field(0.9, ge=-1, le=1, description="p: the cosine from which a positive pair is free")
    negative_margin: float = Field(0.3, ge=-1, le=1, description="n: the cosine up to which a negative pair is free")
    tile: int = Field(1024, ge=1, description="rows and columns of scores held at once: memory, not result")

    @model_validator(mode="after")
    def _margins_apart(self) -> "LossSettings":
        p, n = self.positive_margin, self.negative_margin
        if p < n:
            raise ValueError(f"positive_margin must not lie below negative_margin, but {p} < {n}: raise it.")
        if p == n:
            warnings.warn(
                f"positive_margin = negative_margin = {p}: embeddings whose cosines all equal {p} have "
                "almost no loss, so watch the effective rank.",
                stacklevel=2,
            )
        return self


@dataclass(frozen=True)
class Contrast:
    """The loss of a global batch and what to watch with it, the same on every rank; no pairs give 0."""

    loss: Float[Tensor, ""]
    """Differentiable; its gradient on this rank is that of this rank's rows."""
    positives: int
    negatives: int
    positive_cosine: float
    negative_cosine: float
    active_positives: float
    """Share of the positive pairs below their margin, in [0, 1]."""
    active_negatives: float
    """Share of the negative pairs above their margin, in [0, 1]."""


def contrast(
    audio: Float[Tensor, "snippet width"],
    visual: Float[Tensor, "snippet width"],
    ids: Int[Tensor, "snippet way"],
    settings: LossSettings,
) -> Contrast:
    """The loss over all pairs of all ranks' snippets, from this rank's unit rows and component ids.

    Collective: every rank calls it, with any number of snippets, also none. A row that is not finite makes
    the loss NaN or infinite on every rank.
    """
    assert audio.shape == visual.shape, "a snippet has an audio and a visual row"
    assert len(ids) == len(audio), "a snippet has components"
    assert ids.shape[1] in (1, 2), "a snippet has one component, or one in each of two ways"
    everyone, _ = gather(ids)
    loss, numbers = _AllPairs.apply(audio, visual, ids, everyone, settings)
    positives, negatives, *sums = numbers.tolist()
    counts = 2 * (positives, negatives)
    means = [total / count if count else 0.0 for total, count in zip(sums, counts, strict=True)]
    return Contrast(loss, int(positives), int(negatives), *means)


class _AllPairs(torch.autograd.Function):
    """Loss and gradient in the forward pass; the backward pass scales the gradient of this rank's rows."""

    @staticmethod
    def forward(
        ctx: Any, audio: Tensor, visual: Tensor, ids: Tensor, everyone: Tensor, settings: LossSettings
    ) -> tuple[Tensor, Tensor]:
        rows, start = gather(torch.stack((audio.detach(), visual.detach()), dim=1))
        whole = totals(rows, everyone, settings.mode)
        own, keys, back = _sorted(rows, everyone, slice(start, start + len(ids)))
        weights = _weights(settings, whole.positives, whole.negatives)
        if settings.reduction == "active":
            counted = _sweep_blocks(own, keys, weights, settings, gradient=False)[1]
            weights = _weights(settings, int(counted[2]), int(counted[3]))
        needed = any(ctx.needs_input_grad[:2])
        gradient, sums = _sweep_blocks(own, keys, weights, settings, gradient=needed)
        if needed:
            ctx.save_for_backward(2 * gradient[back])
        loss = weights.positive * sums[0] + weights.negative * sums[1]
        numbers = _numbers(whole, sums)
        ctx.mark_non_differentiable(numbers)
        return loss.to(audio.dtype), numbers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        scaled = outputs[0] * gradient
        return scaled[:, 0], scaled[:, 1], None, None, None


def _sorted(rows: Tensor, everyone: Tensor, mine: slice) -> tuple[list[Rows], list[Rows], Tensor]:
    """This rank's and all rows of each modality sorted by the first way's id, and how to put this rank's back."""
    order = everyone[:, 0].argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    own_place, own_order = place[mine].sort()
    own_rows = order[own_place]
    keys = [Rows(rows[order, m].contiguous(), everyone[order], place[order]) for m in (0, 1)]
    own = [Rows(rows[own_rows, m].contiguous(), everyone[own_rows], own_place) for m in (0, 1)]
    return own, keys, own_order.argsort()


def _weights(settings: LossSettings, positives: int, negatives: int) -> Weights:
    """What one pair of each kind weighs, given how many there are (for `active`: how many are active)."""
    p, n = settings.positive_margin, settings.negative_margin
    if settings.reduction == "sum":
        return Weights(p, n, 1.0, 1.0)
    if settings.reduction == "mean":
        return Weights(p, n, *(2 * (1 / max(positives + negatives, 1),)))
    return Weights(p, n, 1 / max(positives, 1), 1 / max(negatives, 1))


def _sweep_blocks(
    own: list[Rows], keys: list[Rows], weights: Weights, settings: LossSettings, gradient: bool
) -> tuple[Float[Tensor, "row 2 width"], Float[Tensor, "4"]]:
    """The gradient of this rank's sorted rows, and the numbers of `Swept.sums` added up over all ranks."""
    slopes = [torch.zeros_like(rows.values) for rows in own]
    sums = torch.zeros(4, dtype=torch.float64, device=slopes[0].device)
    for query, key in BLOCKS[settings.mode]:
        swept = sweep(own[query], keys[key], weights, query == key, settings.tile, gradient)
        slopes[query] += swept.gradient
        sums += swept.sums
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(sums)
    return torch.stack(slopes, dim=1), sums


def _numbers(whole: Totals, sums: Tensor) -> Tensor:
    counts, cosines = [whole.positives, whole.negatives], [whole.positive_cosines, whole.negative_cosines]
    return torch.cat((sums.new_tensor(counts + cosines), sums[2:]))
