"""What the encoder is made of: tokens of one modality, transformer layers, initial weights."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Tokens(nn.Module):
    """One modality's tokens: LayerNorm(Linear(feature)); several features join as in HAN, concatenated and fused."""

    def __init__(self, widths: Mapping[str, int], width: int, dropout: float) -> None:
        super().__init__()
        self.names = tuple(widths)
        self.each = nn.ModuleList(nn.Linear(feature, width) for feature in widths.values())
        self.fuse = nn.Linear(len(widths) * width, width) if len(widths) > 1 else nn.Identity()
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "video second feature"]],
        present: Bool[Tensor, "video second"] | None = None,
    ) -> Float[Tensor, "video second width"]:
        """A token a second; where a second is not present its features count as zeros, whatever they are, also NaN."""
        parts = []
        for name, linear in zip(self.names, self.each, strict=True):
            feature = features[name].to(self.norm.weight.dtype)
            parts.append(linear(feature if present is None else feature.where(present[..., None], 0)))
        token: Tensor = self.dropout(self.norm(self.fuse(torch.cat(parts, dim=-1))))
        return token


class Layer(nn.Module):
    """A pre-norm transformer layer: self-attention, then a feed-forward of four times the width with GELU."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        tokens: Float[Tensor, "sequence token width"],
        visible: Bool[Tensor, "sequence 1 token token"] | None = None,
    ) -> Float[Tensor, "sequence token width"]:
        """The tokens after the layer. `visible` says which tokens (last) each token attends to; None: all."""
        tokens = tokens + self.drop(self._attend(self.attention_norm(tokens), visible))
        wide = nn.functional.gelu(self.widen(self.forward_norm(tokens)))
        return tokens + self.drop(self.narrow(wide))

    def _attend(self, tokens: Tensor, visible: Tensor | None) -> Tensor:
        sequences, length, width = tokens.shape
        split = self.queries_keys_values(tokens).view(sequences, length, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        attended = values  # on CUDA not every attention kernel takes an empty batch, which a rank without videos has
        if sequences:
            attended = scaled_dot_product_attention(queries, keys, values, attn_mask=visible, dropout_p=dropout)
        mixed: Tensor = self.output(attended.transpose(1, 2).reshape(sequences, length, width))
        return mixed


def visible_tokens(present: Bool[Tensor, "sequence token"]) -> Bool[Tensor, "sequence 1 token token"]:
    """Which tokens each token attends to: those that are present, and itself, so that none attends to nothing."""
    itself = torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
    return (present[:, None, :] | itself)[:, None]


def of_modality(
    present: Bool[Tensor, "video modality second"] | None, modality: int
) -> Bool[Tensor, "video second"] | None:
    """Which seconds have one of the modalities; None where all have both."""
    return None if present is None else present[:, modality]


def initialise(module: nn.Module) -> None:
    """BERT's initial weights: normal with deviation 0.02, biases 0; LayerNorms stay at 1 and 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
