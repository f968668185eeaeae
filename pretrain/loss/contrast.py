"""The contrastive loss of equations (3) to (5) over all ordered pairs of the global batch, on any ranks.

    L = Σ_pos w⁺ [p - ⟨z_i, z_j⟩]₊ + Σ_neg w⁻ [⟨z_i, z_j⟩ - n]₊

The pair matrix is never stored: see `sweep`. Scores and labels are symmetric, so from embeddings seen once, see
`exchange`, a rank computes the complete gradient of its own rows (ordered pairs (i, j) and (j, i): a factor 2), and
nothing travels in the backward pass. Every rank returns the same, whole loss; the gradient of a parameter is the SUM
over ranks.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor
from torch.autograd.function import once_differentiable

from launch.settings import Settings
from pretrain.loss.exchange import Block, Exchange, block_of, blocks, introduce, sort_own
from pretrain.loss.hinges import ACTIVE_NEGATIVES, ACTIVE_POSITIVES, COSINES, POSITIVE_COSINES, Margins, Slopes
from pretrain.loss.pairs import AUDIO, BLOCKS, VISUAL, Mode, Snippets
from pretrain.loss.sampled import draw, sweep_drawn
from pretrain.loss.sweep import Side, Tally, sweep, sweep_own

TILES = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of a tile where none are set. CPU: 4 MiB, and none is faster (docs/log.md); a GPU: not measured."""


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
    pairs: Literal["all", "sampled"] = Field(
        "all",
        description="all ordered pairs of the global batch, or (the paper) some snippets drawn at random against all",
    )
    anchors: int = Field(1, ge=1, description="audio-visual snippet pairs drawn a step; counts where pairs = sampled")
    multi: Literal["sum", "alternate"] = Field(
        "sum",
        description="mode multi takes the pairs of both kinds in every step (sum), or, as the authors' release does, "
        "uni in the epochs 0, 2, … and cross in the others (alternate)",
    )
    exchange: Exchange = Field(
        "auto",
        description="every rank holds all embeddings (gather) or one rank's after the other's (ring): memory, not "
        "result; auto gathers up to gather_mib",
    )
    gather_mib: int = Field(
        2048,
        ge=0,
        description="MiB of embeddings in the global batch up to which exchange = auto gathers; twice is held",
    )
    tile: int | None = Field(
        None,
        ge=1,
        description="rows and columns of scores held at once: memory, not result; when absent 1024, on a GPU 8192",
    )
    products: Literal["auto", "full"] = Field(
        "auto",
        description="of rows: in bfloat16 with sums in float32 on a GPU and in full on a CPU (auto), or in full, the "
        "rows' own precision, everywhere (full)",
    )

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

    def in_epoch(self, epoch: int) -> "LossSettings":
        """The settings of an epoch, counted from 0: the same, but where `multi` alternates."""
        if self.mode != "multi" or self.multi == "sum":
            return self
        return self.model_copy(update={"mode": "cross" if epoch % 2 else "uni"})


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
    present: Bool[Tensor, "snippet 2"] | None = None,
    drawn_from: tuple[int, int] | None = None,
) -> Contrast:
    """The loss over all pairs of all ranks' snippets, from this rank's unit rows and component ids.

    `present`: which audio and visual rows are there (None: all); the others are in no pair and get no gradient.
    `drawn_from`: the run's seed and the step, which fix what `pairs = sampled` draws.

    Collective: every rank calls it, with any number of snippets, also none. A row that is not finite makes the loss NaN
    on every rank, if it is in any pair.
    """
    assert audio.shape == visual.shape, "a snippet has an audio and a visual row"
    assert len(ids) == len(audio), "a snippet has components"
    assert ids.shape[1] in (1, 2), "a snippet has one component, or one in each of two ways"
    snippets = introduce(ids, present)
    anchors = None
    if settings.pairs == "sampled":
        assert drawn_from is not None, "what is drawn follows from the seed and the step"
        anchors = draw(snippets, settings.anchors, *drawn_from)
    counts = snippets.count(settings.mode, anchors)
    loss, sums = _Loss.apply(audio, visual, snippets, counts, anchors, settings)
    found = sums.tolist()
    cosines = found[POSITIVE_COSINES], found[COSINES] - found[POSITIVE_COSINES]
    means = [
        value / count if count else 0.0
        for value, count in zip((*cosines, found[ACTIVE_POSITIVES], found[ACTIVE_NEGATIVES]), 2 * counts, strict=True)
    ]
    return Contrast(loss, *counts, *means)


class _Loss(torch.autograd.Function):
    """Loss and gradient in the forward pass; the backward pass scales the gradient of this rank's rows."""

    @staticmethod
    def forward(
        ctx: Any,
        audio: Tensor,
        visual: Tensor,
        snippets: Snippets,
        counts: tuple[int, int],
        anchors: Tensor | None,
        settings: LossSettings,
    ) -> tuple[Tensor, Tensor]:
        tally = _tally(settings, counts, audio.device)
        products = settings.products if anchors is None else "full"
        mine = sort_own([_multiplied(each.detach(), products) for each in (audio, visual)], snippets)
        needed = any(ctx.needs_input_grad[:2])
        own = [
            Side(rows, Slopes.zeros(rows.values, tally.margins.ratio is None) if needed else None)
            for rows in block_of(mine, snippets, snippets.rank)
        ]
        if anchors is None:
            _sweep_all(own, blocks(mine, snippets, settings.exchange, settings.gather_mib), settings.mode, tally)
        else:
            sweep_drawn(own, snippets, anchors, settings.mode, tally)
        if snippets.ranks > 1:
            dist.all_reduce(tally.sums)
        weights = _weights(settings.reduction, counts, tally.sums)
        if needed:
            orders = 2 if anchors is None else 1  # a row's pairs count for it in both orders, or as they are drawn
            ctx.save_for_backward(*_gradients(own, snippets, orders * weights, audio))
        ctx.mark_non_differentiable(tally.sums)
        not_finite = (
            0 * tally.sums[COSINES]
        )  # NaN for a row that is not, also if each of its pairs is within its margin
        loss = (weights * tally.sums[:2]).sum() + not_finite
        return loss.to(torch.promote_types(audio.dtype, torch.float32)), tally.sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        audio, visual = ctx.saved_tensors
        return outputs[0] * audio, outputs[0] * visual, None, None, None, None


def _multiplied(rows: Tensor, products: str) -> Tensor:
    """The rows in the precision in which their scores are computed."""
    if rows.is_cuda and products == "auto" and rows.dtype != torch.float64:
        return rows.bfloat16()
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _sweep_all(own: list[Side], compared: Iterator[Block], mode: Mode, tally: Tally) -> None:
    """Adds this rank's rows with each other, in both orders of a pair, and then with the other ranks', in one."""
    next(compared)
    for query, key in BLOCKS[mode]:
        if query == key:
            sweep_own(own[query], tally)
        elif query < key:
            sweep(own[query], own[key], 2, tally)
    for block in compared:
        for query, key in BLOCKS[mode]:
            sweep(own[query], Side(block[key], None), 1, tally)


def _tally(settings: LossSettings, counts: tuple[int, int], device: torch.device) -> Tally:
    sums, ratio = torch.zeros(6, dtype=torch.float64, device=device), None
    if settings.reduction != "active":  # its weights are known when all active pairs are counted
        positive, negative = _weights(settings.reduction, counts, sums).tolist()
        ratio = positive / negative
    margins = Margins(settings.positive_margin, settings.negative_margin, ratio)
    return Tally(margins, sums, settings.tile or TILES[device.type])


def _weights(reduction: str, counts: tuple[int, int], sums: Tensor) -> Float[Tensor, "2"]:
    """What one positive and one negative pair weigh, given how many there are, and for `active` how many are active."""
    if reduction == "sum":
        return sums.new_ones(2)
    if reduction == "mean":
        return sums.new_full((2,), 1 / max(sum(counts), 1))
    averaged = sums[[ACTIVE_POSITIVES, ACTIVE_NEGATIVES]] if reduction == "active" else sums.new_tensor(counts)
    return 1 / averaged.clamp(min=1)


def _gradients(own: list[Side], snippets: Snippets, weights: Tensor, like: Tensor) -> list[Tensor]:
    """The gradient of this rank's rows as they came, from their slopes, which are used up."""
    found = []
    for modality in (AUDIO, VISUAL):
        slopes = own[modality].slopes
        assert slopes is not None
        gradient = slopes.weighed(weights)
        where = snippets.order(snippets.rank, modality) - snippets.first
        found.append(torch.zeros_like(like).index_copy_(0, where, gradient.to(like.dtype)))
    return found
