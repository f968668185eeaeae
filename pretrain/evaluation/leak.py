"""The leak: whether an embedding is of its own snippet, or of the video it was fused with.

Under joint attention a snippet's embedding of one modality may copy from the other, so pairs across modalities can be
told apart without learning what sounds and looks alike. Exchanging the sound of videos shows it: each picture then has
another video's sound beside it, and its embedding either stays where it was or moves to that video's.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from shards.schema import MODALITIES


def follows(
    encode: Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor]],
    features: Mapping[str, Float[Tensor, "video second feature"]],
    audio: Sequence[str],
) -> dict[str, float]:
    """Mean cosines of embeddings made with another video's sound, by name; none for fewer than two videos.

    For each modality: `…_follows_snippet` to the embedding of the same snippet with its own other modality;
    `…_follows_video` to the embedding, in the same modality and second, of the video that the other modality is of;
    `…_between_videos` between these two: what `…_follows_video` would be at least if nothing leaked and the first were
    1. `audio` names the features that are exchanged: video i gets those of the one before it, the first the last's.
    """
    if len(next(iter(features.values()))) < 2:
        return {}
    mixed = dict(features) | {name: features[name].roll(1, dims=0) for name in audio}
    with torch.no_grad():
        before, after = encode(features), encode(mixed)
    heard, seen = before[0].roll(1, dims=0), before[1]  # what is heard and seen in `mixed`, each with its own
    of_video = before[0], before[1].roll(1, dims=0)
    told = {}
    for name, found, snippet, video in zip(MODALITIES, after, (heard, seen), of_video, strict=True):
        told[f"{name}_follows_snippet"] = _cosine(found, snippet)
        told[f"{name}_follows_video"] = _cosine(found, video)
        told[f"{name}_between_videos"] = _cosine(snippet, video)
    return told


def _cosine(left: Tensor, right: Tensor) -> float:
    return float(cosine_similarity(left, right, dim=-1).mean())
