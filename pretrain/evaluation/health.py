"""Health: whether embeddings tell snippets apart, or have collapsed while the loss looked well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from pretrain.evaluation.ranking import area_under_curve, average_precision, recall_at
from pretrain.layers import of_modality
from pretrain.loss.contrast import LossSettings
from pretrain.loss.pairs import AUDIO, BLOCKS, VISUAL, alike

MOST = 200
"""Videos whose pairs are looked at: sixteen million pairs of rows at most; the effective rank takes all videos."""


@dataclass(frozen=True)
class Embedded:
    """Unit-length embeddings of held-out videos, zero where they are not present."""

    audio: Float[Tensor, "video second width"]
    visual: Float[Tensor, "video second width"]
    audio_alone: Float[Tensor, "video second width"]
    """With the picture masked at the encoder's input: nothing of it can be copied."""
    visual_alone: Float[Tensor, "video second width"]
    """With the sound masked."""
    present: Bool[Tensor, "video modality second"] | None = None
    """Which snippets there are, of each modality; None: all."""

    @classmethod
    def joined(cls, parts: Sequence["Embedded"]) -> "Embedded":
        """Those of several parts, one after the other; either all of them say what is present, or none."""
        names = [field.name for field in fields(cls) if getattr(parts[0], field.name) is not None]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def means(self) -> Float[Tensor, "video width"]:
        """The mean over the seconds that are present, audio beside visual; zeros for a modality that has none."""
        sides = self.audio, self.visual
        both = torch.cat(sides, dim=-1)
        if self.present is None:
            return both.mean(1)
        each = zip(self.present.unbind(1), sides, strict=True)
        has = torch.cat([present[..., None].expand_as(rows) for present, rows in each], dim=-1)
        return both.where(has, 0).sum(1) / has.sum(1).clamp(min=1)

    def of(self, modality: int) -> Bool[Tensor, "video second"] | None:
        """Which seconds have a modality; None: all."""
        return of_modality(self.present, modality)


def there(
    values: Shaped[Tensor, "video second *rest"], present: Bool[Tensor, "video second"] | None
) -> Shaped[Tensor, "snippet *rest"]:
    """Those of the seconds that exist, video after video."""
    return values.flatten(0, 1) if present is None else values[present]


def health(embedded: Embedded, ids: Int[Tensor, "video second way"], loss: LossSettings) -> dict[str, float]:
    """Named numbers about the embeddings of held-out videos; what has no pairs to be measured on is left out.

    None for fewer than two videos.

    - `effective_rank_*`: between 1 (collapse) and the width;
    - `auc`, `positive_cosine`, `negative_cosine`, `active_positives`, `active_negatives` (shares of the pairs with a
      hinge above zero), `balanced_hinge` (mean hinge of the positives plus that of the negatives, whatever the loss's
      reduction): over the pairs that the loss's mode compares;
    - `audio_to_visual_*`, `visual_to_audio_*`: `r1`, `r5`, `map` of retrieving the right component from other videos
      when each modality was encoded alone, and `chance`, the `map` of scores that are all equal.
    """
    if len(ids) < 2:
        return {}
    found = {
        "effective_rank_audio": effective_rank(there(embedded.audio, embedded.of(AUDIO))),
        "effective_rank_visual": effective_rank(there(embedded.visual, embedded.of(VISUAL))),
    }
    some = slice(0, MOST)
    ids, present = ids[some], None if embedded.present is None else embedded.present[some]
    sides = [of_modality(present, modality) for modality in (AUDIO, VISUAL)]
    component, video = [there(ids, side) for side in sides], [there(videos_of(ids), side) for side in sides]
    rows = [there(each[some], side) for each, side in zip((embedded.audio, embedded.visual), sides, strict=True)]
    found |= _separation(rows, component, loss)
    alone = (embedded.audio_alone[some], embedded.visual_alone[some])
    audio, visual = (there(each, side) for each, side in zip(alone, sides, strict=True))
    candidate = video[AUDIO][:, None] != video[VISUAL][None, :]
    relevant = alike(component[AUDIO], component[VISUAL]) & candidate
    found |= retrieval("audio_to_visual", audio @ visual.T, relevant, candidate)
    found |= retrieval("visual_to_audio", visual @ audio.T, relevant.T, candidate.T)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def videos_of(values: Shaped[Tensor, "video second *rest"]) -> Int[Tensor, "video second"]:
    """The number of the video, at each of its seconds."""
    return torch.arange(len(values), device=values.device)[:, None].expand(-1, values.shape[1])


def effective_rank(rows: Float[Tensor, "row width"]) -> float:
    """exp of the entropy (nats) of the singular values' shares (RankMe, Garrido et al. 2023); 0 for rows of zeros."""
    values = torch.linalg.svdvals(rows.double())
    if not bool(values.sum() > 0):
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def retrieval(
    name: str,
    scores: Float[Tensor, "query key"],
    relevant: Bool[Tensor, "query key"],
    candidate: Bool[Tensor, "query key"],
) -> dict[str, float]:
    """R@1, R@5, mAP and its chance level over the queries that have a relevant candidate; NaN if none has."""
    asked = relevant.any(1)
    scores, relevant, candidate = scores[asked], relevant[asked], candidate[asked]
    among = scores.masked_fill(~candidate, -torch.inf)
    return {
        f"{name}_r1": float(recall_at(among, relevant, 1)),
        f"{name}_r5": float(recall_at(among, relevant, 5)),
        f"{name}_map": float(average_precision(among, relevant).mean()),
        f"{name}_chance": float((relevant.sum(1) / candidate.sum(1)).mean()),
    }


def _separation(rows: list[Tensor], ids: list[Int[Tensor, "snippet way"]], loss: LossSettings) -> dict[str, float]:
    """What tells the positive from the negative pairs of the loss's mode; a row is no pair with itself."""
    positive, negative = [], []
    for query, key in BLOCKS[loss.mode]:
        scores, same = rows[query] @ rows[key].T, alike(ids[query], ids[key])
        itself = torch.eye(*same.shape, dtype=torch.bool, device=same.device) & (query == key)
        positive.append(scores[same & ~itself])
        negative.append(scores[~same])
    attracted, repelled = torch.cat(positive), torch.cat(negative)
    under, over = (loss.positive_margin - attracted).clamp(min=0), (repelled - loss.negative_margin).clamp(min=0)
    return {
        "auc": area_under_curve(attracted, repelled),
        "positive_cosine": float(attracted.mean()),
        "negative_cosine": float(repelled.mean()),
        "active_positives": float((under > 0).double().mean()),
        "active_negatives": float((over > 0).double().mean()),
        "balanced_hinge": float(under.mean() + over.mean()),
    }
