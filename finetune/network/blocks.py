"""What lies between the features and the pooling: projections, attention blocks, and the two architectures of them.

Both modalities travel stacked, (modality, video, second, width) with audio first, so a block whose weights both
directions share runs once over twice the rows, and `flip(0)` is the other modality.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from finetune.network.attention import Attention, Present

Streams = Float[Tensor, "modality video second width"]
Source = Literal["own", "other"]


class Projection(nn.Module):
    """One modality's features to the parser's width: a linear each, joined, fused by a last linear.

    One feature alone needs no fusion: its linear is the projection. HAN's visual input is the case of two.
    """

    def __init__(self, names: Sequence[str], widths: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.each = nn.ModuleList(nn.Linear(widths[name], width) for name in names)
        self.fuse = nn.Linear(len(names) * width, width) if len(names) > 1 else nn.Identity()

    def forward(
        self, features: Mapping[str, Float[Tensor, "video second _"]], present: Present | None = None
    ) -> Float[Tensor, "video second width"]:
        """The projected modality; `features` may hold others too. In seconds that are not `present` they count as
        zeros, whatever they are."""
        projected = []
        for name, linear in zip(self.names, self.each, strict=True):
            feature = features[name]
            projected.append(linear(feature if present is None else feature.where(present[..., None], 0)))
        return self.fuse(torch.cat(projected, dim=-1))


class Block(nn.Module):
    """h = LN(x + Σ Drop(attention)), then LN(h + Drop(W₂ Drop(ReLU(W₁ h)))); the sum runs over `sources`.

    HAN's layer has both sources, the own stream and the other one; the paper's Base has blocks with one each.
    """

    def __init__(
        self, sources: Sequence[Source], width: int, heads: int, hidden: int, dropout: float, gcaa: bool
    ) -> None:
        super().__init__()
        self.attentions = nn.ModuleDict({source: Attention(width, heads, dropout, gcaa) for source in sources})
        self.expand, self.contract = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm_attended, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        own: Float[Tensor, "*stream second width"],
        other: Float[Tensor, "*stream second width"],
        present: Present | None = None,
    ) -> Float[Tensor, "*stream second width"]:
        """The updated `own` stream."""
        streams = {"own": own, "other": other}
        attended = own
        for source, attention in self.attentions.items():
            attended = attended + self.dropout(attention(own, streams[source], present))
        attended = self.norm_attended(attended)
        inner = self.contract(self.dropout(F.relu(self.expand(attended))))
        return self.norm_out(attended + self.dropout(inner))


class Han(nn.Module):
    """The Hybrid Attention Network: one layer, the same weights in both directions, both read the raw inputs."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, gcaa: bool) -> None:
        super().__init__()
        self.block = Block(("own", "other"), width, heads, hidden, dropout, gcaa)

    def forward(self, streams: Streams, present: Present | None = None) -> Streams:
        """The joint features."""
        return self.block(streams, streams.flip(0), present)


class Base(nn.Module):
    """The paper's Base: self-attention of its own for each modality, then shared cross attention and linear.

    With `skip`, each modality's self-attended stream is added to its joint features and normalised.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, gcaa: bool, skip: bool) -> None:
        super().__init__()
        self.audio, self.visual = (Block(("own",), width, heads, hidden, dropout, gcaa) for _ in range(2))
        self.cross = Block(("other",), width, heads, hidden, dropout, gcaa)
        self.shared = nn.Linear(width, width)
        self.skip_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2)) if skip else None

    def forward(self, streams: Streams, present: Present | None = None) -> Streams:
        """The joint features."""
        audio, visual = streams.unbind(0)
        own = torch.stack([self.audio(audio, audio, present), self.visual(visual, visual, present)])
        joint = self.shared(self.cross(own, own.flip(0), present))
        if self.skip_norms is None:
            return joint
        return torch.stack([norm(one) for norm, one in zip(self.skip_norms, joint + own, strict=True)])
