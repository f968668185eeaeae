"""What labels say of rows: how much a linear map tells of them, and whether the other modality's rows are found.

The truth is that of the tables: weak labels of every video, and for the densely annotated splits what is audible and
visible in each second. The components of the graph have no part in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pretrain.evaluation.health import Embedded, effective_rank, retrieval, there, videos_of
from pretrain.evaluation.linear import Labelled, linear_probe
from pretrain.loss.pairs import AUDIO, VISUAL
from shards.labels import Tables

QUERIES = 256
"""Snippets that are scored against all others at a time: memory, not result."""


@dataclass(frozen=True)
class Truth:
    """The labels of a split's videos."""

    weak: Bool[Tensor, "video category"]
    audible: Bool[Tensor, "video second category"]
    visible: Bool[Tensor, "video second category"]

    @classmethod
    def of(cls, tables: Tables, keys: Sequence[str]) -> "Truth":
        """The truth of some videos in their order; raises Refusal for one that no table knows."""
        audible, visible = (torch.from_numpy(parse).transpose(1, 2) for parse in tables.truth(keys))
        return cls(torch.from_numpy(tables.weak_matrix(keys)), audible, visible)

    def only(self, videos: slice) -> "Truth":
        """Of some of the videos."""
        return Truth(self.weak[videos], self.audible[videos], self.visible[videos])


def probe_seconds(known: Embedded, known_truth: Truth, asked: Embedded, asked_truth: Truth) -> dict[str, float]:
    """`audio_map`: audible categories from a second's audio row; `visual_map`: likewise; `second_map`: their mean."""

    def probed(name: str, truth: str, modality: int) -> float:
        sides = ((known, known_truth), (asked, asked_truth))
        labelled = [_labelled(getattr(rows, name), getattr(of, truth), rows.of(modality)) for rows, of in sides]
        return linear_probe(*labelled).mean_average_precision

    audio, visual = probed("audio", "audible", AUDIO), probed("visual", "visible", VISUAL)
    return {"audio_map": audio, "visual_map": visual, "second_map": (audio + visual) / 2}


def probe_videos(
    known: Float[Tensor, "video width"], known_truth: Truth, asked: Float[Tensor, "video width"], asked_truth: Truth
) -> dict[str, float]:
    """`video_map`: weak labels from one row a video."""
    sides = ((known, known_truth), (asked, asked_truth))
    labelled = [Labelled(rows, truth.weak, torch.arange(len(rows))) for rows, truth in sides]
    return {"video_map": linear_probe(*labelled).mean_average_precision}


def retrieve(embedded: Embedded, truth: Truth) -> dict[str, float]:
    """Retrieval of a second of another video in which an event is seen that is heard in the query, and the reverse.

    Both sides were encoded alone. A query is a second in which something is heard (seen); every second of every other
    video may be found. `audio_to_visual_map` and so on, as in `health`; means over the queries that can find anything.
    """
    audio = _labelled(embedded.audio_alone, truth.audible, embedded.of(AUDIO))
    visual = _labelled(embedded.visual_alone, truth.visible, embedded.of(VISUAL))
    return {
        **_retrieved("audio_to_visual", audio, visual),
        **_retrieved("visual_to_audio", visual, audio),
        "effective_rank_audio": effective_rank(there(embedded.audio, embedded.of(AUDIO))),
        "effective_rank_visual": effective_rank(there(embedded.visual, embedded.of(VISUAL))),
    }


def _retrieved(name: str, asking: Labelled, asked: Labelled) -> dict[str, float]:
    wanted, held = asking.labels.float(), asked.labels.float()
    totals: dict[str, float] = {}
    count = 0
    for some in wanted.any(1).nonzero().squeeze(1).split(QUERIES):
        candidate = asking.video[some, None] != asked.video[None]
        relevant = (wanted[some] @ held.T > 0) & candidate
        answered = int(relevant.any(1).sum())
        if answered:
            found = retrieval(name, asking.rows[some] @ asked.rows.T, relevant, candidate)
            totals = {each: totals.get(each, 0.0) + value * answered for each, value in found.items()}
            count += answered
    return {each: value / count for each, value in totals.items()}


def _labelled(
    rows: Float[Tensor, "video second width"],
    labels: Bool[Tensor, "video second category"],
    present: Bool[Tensor, "video second"] | None,
) -> Labelled:
    return Labelled(there(rows, present), there(labels, present), there(videos_of(rows), present))
