"""The encoder: a UNITER-style transformer over the ten audio and ten visual tokens of a video.

Three lines use a trained one, without DeepSpeed; `features` holds an array (video, second, feature width) a name:

    encoder = load_encoder(Path("pretrained/encoder")).eval()
    audio, visual = encoder(features)  # features: {"vggish": …, "resnet152": …, "r2plus1d_18": …}
    cosines = normalize(audio, dim=-1) @ normalize(visual, dim=-1).mT  # (video, audio second, visual second)
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from launch.digest import sha256_file, sha256_json
from launch.refusal import Refusal
from launch.settings import Settings
from shards.schema import MODALITIES, SECONDS

WEIGHTS, SETTINGS = "encoder.safetensors", "settings.json"


class ModelSettings(Settings):
    """The size of the encoder, what it reads, and what a snippet may see."""

    audio: tuple[str, ...] = Field(("vggish",), min_length=1, description="features that make an audio token")
    visual: tuple[str, ...] = Field(
        ("resnet152", "r2plus1d_18"), min_length=1, description="features that make a visual token"
    )
    layers: int = Field(12, ge=1, description="transformer layers")
    width: int = Field(768, ge=1, description="width of tokens and embeddings")
    heads: int = Field(12, ge=1, description="attention heads; must divide width")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of activations dropped in training")
    attention: Literal["joint", "per_modality"] = Field(
        "joint", description="what a snippet attends to: both modalities of its video (the paper), or its own"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "ModelSettings":
        if self.width % self.heads:
            raise ValueError(f"heads must divide width, but {self.heads} does not divide {self.width}.")
        return self

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature the encoder reads, audio ones first."""
        return self.audio + self.visual


class Transformer(nn.Module):
    """Audio and visual features of videos → contextual embeddings of their snippets.

    Layers are pre-norm with a closing LayerNorm, where UNITER inherits BERT's post-norm together with BERT's
    weights: from random weights pre-norm trains at any depth without a delicate warm-up, and its residual
    stream starts near the input features, so that similar snippets start out similar.
    """

    def __init__(self, settings: ModelSettings, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.settings = settings
        self.widths = {name: widths[name] for name in settings.features}
        self.audio = Tokens({name: widths[name] for name in settings.audio}, settings.width, settings.dropout)
        self.visual = Tokens({name: widths[name] for name in settings.visual}, settings.width, settings.dropout)
        self.second = nn.Embedding(SECONDS, settings.width)
        self.modality = nn.Embedding(len(MODALITIES), settings.width)
        self.layers = nn.ModuleList(Layer(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.width)
        self.apply(_initialise)

    def forward(
        self, features: Mapping[str, Float[Tensor, "video second feature"]]
    ) -> tuple[Float[Tensor, "video second width"], Float[Tensor, "video second width"]]:
        """The audio and the visual embeddings, not normalised (their directions are `z` of the loss), at least float32.

        Any number of videos, also none. Features are read by name; more than the encoder's own are ignored.
        """
        dtype = self.norm.weight.dtype
        features = {name: features[name].to(dtype) for name in self.settings.features}
        streams = torch.stack((self.audio(features), self.visual(features)), dim=1)
        second = self.second(torch.arange(streams.shape[2], device=streams.device))
        tokens = streams + second + self.modality.weight[:, None, :]
        videos, modalities, seconds, width = tokens.shape
        apart = 1 if self.settings.attention == "joint" else modalities
        tokens = tokens.view(videos * apart, modalities * seconds // apart, width)
        for layer in self.layers:
            tokens = layer(tokens)
        outputs = self.norm(tokens).to(torch.promote_types(dtype, torch.float32))
        audio, visual = outputs.view(videos, modalities, seconds, width).unbind(1)
        return audio, visual


class Tokens(nn.Module):
    """One modality's tokens: LayerNorm(Linear(feature)); several features join as in HAN, concatenated and fused."""

    def __init__(self, widths: Mapping[str, int], width: int, dropout: float) -> None:
        super().__init__()
        self.names = tuple(widths)
        self.each = nn.ModuleList(nn.Linear(feature, width) for feature in widths.values())
        self.fuse = nn.Linear(len(widths) * width, width) if len(widths) > 1 else nn.Identity()
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Mapping[str, Tensor]) -> Float[Tensor, "video second width"]:
        parts = [linear(features[name]) for name, linear in zip(self.names, self.each, strict=True)]
        token: Tensor = self.dropout(self.norm(self.fuse(torch.cat(parts, dim=-1))))
        return token


class Layer(nn.Module):
    """A pre-norm transformer layer: self-attention, then a feed-forward of four times the width with GELU."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width = settings.width
        self.heads, self.dropout = settings.heads, settings.dropout
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(settings.dropout)

    def forward(self, tokens: Float[Tensor, "sequence token width"]) -> Float[Tensor, "sequence token width"]:
        tokens = tokens + self.drop(self._attend(self.attention_norm(tokens)))
        wide = nn.functional.gelu(self.widen(self.forward_norm(tokens)))
        return tokens + self.drop(self.narrow(wide))

    def _attend(self, tokens: Tensor) -> Tensor:
        sequences, length, width = tokens.shape
        split = self.queries_keys_values(tokens).view(sequences, length, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        # On CUDA not every attention kernel takes an empty batch, which a rank without videos has.
        attended = scaled_dot_product_attention(queries, keys, values, dropout_p=dropout) if sequences else values
        mixed: Tensor = self.output(attended.transpose(1, 2).reshape(sequences, length, width))
        return mixed


def _initialise(module: nn.Module) -> None:
    """BERT's initial weights: normal with deviation 0.02, biases 0; LayerNorms stay at 1 and 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class Description:
    """What an encoder's `settings.json` says."""

    model: ModelSettings
    widths: dict[str, int]
    """The width of every feature the encoder reads."""
    provenance: dict[str, Any]
    """Where it came from, as `save_encoder` was told: digests of the shard set and components, settings, steps."""
    weights: str
    """The sha256 of the file of weights."""
    digest: str
    """The encoder's identity: the sha256 over all of the above, so that nothing of it changes unseen."""


def save_encoder(
    folder: Path,
    weights: Mapping[str, Tensor],
    settings: ModelSettings,
    widths: Mapping[str, int],
    provenance: Mapping[str, Any],
) -> None:
    """Writes `encoder.safetensors` and, last, `settings.json`: a `Description`, sealed with its own digest."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.float().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    described: dict[str, Any] = {
        "model": settings.model_dump(mode="json"),
        "widths": dict(widths),
        "provenance": dict(provenance),
    }
    described["weights"] = sha256_file(folder / WEIGHTS)
    described["digest"] = sha256_json(described)
    (folder / SETTINGS).write_text(json.dumps(described, indent=1) + "\n")


def describe_encoder(folder: Path) -> Description:
    """What an encoder's folder says it holds; the weights are neither read nor checked.

    Raises Refusal when `settings.json` is missing, damaged, or not as it was written.
    """
    try:
        described = json.loads((folder / SETTINGS).read_text())
        digest = described.pop("digest")
        if sha256_json(described) != digest:
            raise ValueError(f"{SETTINGS} was changed after it was sealed")
        return Description(**described | {"model": ModelSettings(**described["model"]), "digest": digest})
    except FileNotFoundError as error:
        raise _incomplete(error, folder) from None
    except (ValueError, KeyError, TypeError, AttributeError, Refusal) as error:
        raise _altered(error, folder) from None


def load_encoder(folder: Path) -> Transformer:
    """The encoder in a folder that `save_encoder` wrote, float32, on the CPU, in training mode.

    Raises Refusal when a file is missing, damaged, or not as it was written.
    """
    described = describe_encoder(folder)
    try:
        if sha256_file(folder / WEIGHTS) != described.weights:
            raise ValueError(f"{WEIGHTS} is not the file that {SETTINGS} was sealed with")
        encoder = Transformer(described.model, described.widths)
        encoder.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise _incomplete(error, folder) from None
    except (ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _altered(error, folder) from None
    return encoder


def _incomplete(error: FileNotFoundError, folder: Path) -> Refusal:
    return Refusal(
        f"An encoder's folder must hold {SETTINGS} and {WEIGHTS}, but '{error.filename or folder}' is missing: "
        "give the `encoder` folder that pretrain wrote."
    )


def _altered(error: Exception, folder: Path) -> Refusal:
    found = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
    return Refusal(
        f"An encoder must be as pretrain wrote it, but '{folder}' is not ({found}): copy it again, or pre-train again."
    )
