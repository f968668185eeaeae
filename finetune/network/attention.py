"""One attention for the whole parser: scaled dot product with heads, plain or global-context aware (GCAA)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

Present = Bool[Tensor, "*#stream second"]
"""Which seconds of a video exist, or (modality, video, second) which have audio and which a picture; a shorter video
has False at its end."""


class Attention(nn.Module):
    """Seconds of one stream attend to the seconds of another (or of the same).

    With `gcaa`, queries and keys are blended with the global context of their own stream before they meet (paper
    §3.1, after Xuan et al., AAAI 2020). Dropout falls on the attention weights.
    """

    def __init__(self, width: int, heads: int = 1, dropout: float = 0.1, gcaa: bool = False) -> None:
        super().__init__()
        assert width % heads == 0, (width, heads)
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.query_context = GlobalContext(width) if gcaa else None
        self.key_context = GlobalContext(width) if gcaa else None

    def forward(
        self,
        own: Float[Tensor, "*stream second width"],
        other: Float[Tensor, "*stream second width"],
        present: Present | None = None,
    ) -> Float[Tensor, "*stream second width"]:
        """What each second of `own` gathers from the present seconds of `other`."""
        query, key, value = self.query(own), self.key(other), self.value(other)
        if self.query_context is not None and self.key_context is not None:
            query, key = self.query_context(query, own, present), self.key_context(key, other, present)
        gathered = F.scaled_dot_product_attention(
            self._split(query),
            self._split(key),
            self._split(value),
            attn_mask=None if present is None else present[..., None, None, :],
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(gathered.transpose(-3, -2).flatten(-2))

    def _split(self, rows: Float[Tensor, "*stream second width"]) -> Float[Tensor, "*stream head second part"]:
        return rows.unflatten(-1, (self.heads, -1)).transpose(-3, -2)


class GlobalContext(nn.Module):
    """Blends every local row with the mean of its whole stream, by a learnt share per second.

    c = U·mean_t(x), λ = σ(V·row + V'·c), blended = (1 − λ)·row + λ·c.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.context = nn.Linear(width, width)
        self.local_share = nn.Linear(width, 1)
        self.global_share = nn.Linear(width, 1, bias=False)

    def forward(
        self,
        rows: Float[Tensor, "*stream second width"],
        stream: Float[Tensor, "*stream second width"],
        present: Present | None = None,
    ) -> Float[Tensor, "*stream second width"]:
        """The rows blended with the global context of `stream`; absent seconds stay out of the mean."""
        context = self.context(mean_over_time(stream, present))
        share = torch.sigmoid(self.local_share(rows) + self.global_share(context))
        return torch.lerp(rows, context.expand_as(rows), share)


def mean_over_time(
    stream: Float[Tensor, "*stream second width"], present: Present | None = None
) -> Float[Tensor, "*stream 1 width"]:
    """The mean row of each stream over its present seconds."""
    if present is None:
        return stream.mean(dim=-2, keepdim=True)
    weight = present[..., None].to(stream.dtype)
    return (stream * weight).sum(dim=-2, keepdim=True) / weight.sum(dim=-2, keepdim=True)
