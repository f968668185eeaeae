"""Health: whether embeddings tell snippets apart, or have collapsed while the loss looked well."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pretrain.loss.pairs import alike


def health(
    audio: Float[Tensor, "video second width"],
    visual: Float[Tensor, "video second width"],
    ids: Int[Tensor, "video second way"],
) -> dict[str, float]:
    """Named numbers about unit-length embeddings of held-out videos; none for fewer than two videos.

    Effective rank: between 1 (collapse) and the width. Retrieval: see `retrieval`; `retrieval_chance` is what
    embeddings that know nothing would reach.
    """
    if len(audio) < 2:
        return {}
    relevant, candidate = _relevance(ids)
    flat = audio.flatten(0, 1), visual.flatten(0, 1)
    scores = flat[0] @ flat[1].T
    return {
        "effective_rank_audio": effective_rank(flat[0]),
        "effective_rank_visual": effective_rank(flat[1]),
        "retrieval_audio_to_visual": retrieval(scores, relevant, candidate),
        "retrieval_visual_to_audio": retrieval(scores.T, relevant, candidate),
        "retrieval_chance": _share(relevant.sum(1) / candidate.sum(1), relevant.any(1)),
    }


def effective_rank(rows: Float[Tensor, "row width"]) -> float:
    """exp of the entropy (nats) of the singular values' shares (RankMe, Garrido et al. 2023); 0 for rows of zeros."""
    values = torch.linalg.svdvals(rows.double())
    if not bool(values.sum() > 0):
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def retrieval(scores: Float[Tensor, "query key"], relevant: Tensor, candidate: Tensor) -> float:
    """Share of queries whose best-scored candidate is relevant (R@1), among those that have one; 0 if none has."""
    best = scores.masked_fill(~candidate, -torch.inf).argmax(1)
    return _share(relevant.gather(1, best[:, None]).squeeze(1).double(), relevant.any(1))


def _relevance(ids: Int[Tensor, "video second way"]) -> tuple[Tensor, Tensor]:
    """For each pair of snippets: whether the second answers the first; whether it may, being of another video."""
    component = ids.flatten(0, 1)
    video = torch.arange(len(ids), device=ids.device).repeat_interleave(ids.shape[1])
    candidate = video[:, None] != video[None, :]
    return alike(component, component) & candidate, candidate


def _share(values: Tensor, counted: Tensor) -> float:
    return float(values[counted].mean()) if bool(counted.any()) else 0.0
