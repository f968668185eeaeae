"""Health: whether embeddings tell snippets apart, or have collapsed while the loss looked well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from pretrain.evaluation.ranking import area_under_curve, average_precision, recall_at
from pretrain.loss.contrast import LossSettings
from pretrain.loss.pairs import BLOCKS, alike

MOST = 200
"""Videos whose pairs are looked at: sixteen million pairs of rows at most; the effective rank takes all videos."""


@dataclass(frozen=True)
class Embedded:
    """Unit-length embeddings of held-out videos, zero in seconds that do not exist."""

    audio: Float[Tensor, "video second width"]
    visual: Float[Tensor, "video second width"]
    audio_alone: Float[Tensor, "video second width"]
    """With the picture masked at the encoder's input: nothing of it can be copied."""
    visual_alone: Float[Tensor, "video second width"]
    """With the sound masked."""
    present: Bool[Tensor, "video second"] | None = None
    """Which seconds exist; None: all."""

    @classmethod
    def joined(cls, parts: Sequence["Embedded"]) -> "Embedded":
        """Those of several parts, one after the other; either all of them say which seconds exist, or none."""
        names = [field.name for field in fields(cls) if getattr(parts[0], field.name) is not None]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def means(self) -> Float[Tensor, "video width"]:
        """The mean over the seconds that exist, audio beside visual."""
        both = torch.cat((self.audio, self.visual), dim=-1)
        if self.present is None:
            return both.mean(1)
        return both.where(self.present[..., None], 0).sum(1) / self.present.sum(1, keepdim=True)


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
    present = embedded.present
    found = {
        "effective_rank_audio": effective_rank(there(embedded.audio, present)),
        "effective_rank_visual": effective_rank(there(embedded.visual, present)),
    }
    some = slice(0, MOST)
    ids, present = ids[some], None if present is None else present[some]
    component, video = there(ids, present), there(videos_of(ids), present)
    rows = [there(each[some], present) for each in (embedded.audio, embedded.visual)]
    found |= _separation(rows, component, loss)
    relevant, candidate = _relevance(component, video)
    alone = [there(each[some], present) for each in (embedded.audio_alone, embedded.visual_alone)]
    found |= retrieval("audio_to_visual", alone[0] @ alone[1].T, relevant, candidate)
    found |= retrieval("visual_to_audio", alone[1] @ alone[0].T, relevant, candidate)
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


def _separation(rows: list[Tensor], ids: Int[Tensor, "snippet way"], loss: LossSettings) -> dict[str, float]:
    """What tells the positive from the negative pairs of the loss's mode; a row is no pair with itself."""
    same = alike(ids, ids)
    positive, negative = [], []
    for query, key in BLOCKS[loss.mode]:
        scores = rows[query] @ rows[key].T
        itself = torch.eye(len(ids), dtype=torch.bool, device=ids.device) & (query == key)
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


def _relevance(component: Int[Tensor, "snippet way"], video: Int[Tensor, " snippet"]) -> tuple[Tensor, Tensor]:
    """For each pair of snippets: whether the second answers the first; whether it may, being of another video."""
    candidate = video[:, None] != video[None, :]
    return alike(component, component) & candidate, candidate
