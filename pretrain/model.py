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
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from launch.digest import sha256_file, sha256_json
from launch.refusal import Refusal
from launch.settings import Settings
from pretrain.layers import Layer, Tokens, initialise, of_modality, visible_tokens
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
        self.recompute = False
        """Whether the backward pass computes each layer again instead of keeping what it held; set by who trains."""
        self.audio = Tokens({name: widths[name] for name in settings.audio}, settings.width, settings.dropout)
        self.visual = Tokens({name: widths[name] for name in settings.visual}, settings.width, settings.dropout)
        self.second = nn.Embedding(SECONDS, settings.width)
        self.modality = nn.Embedding(len(MODALITIES), settings.width)
        layers = (Layer(settings.width, settings.heads, settings.dropout) for _ in range(settings.layers))
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(settings.width)
        self.apply(initialise)

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "video second feature"]],
        present: Bool[Tensor, "video modality second"] | None = None,
    ) -> tuple[Float[Tensor, "video second width"], Float[Tensor, "video second width"]]:
        """The audio and the visual embeddings, not normalised (their directions are `z` of the loss), at least float32.

        Any number of videos, also none. Features are read by name; more than the encoder's own are ignored. `present`
        says which snippets have which modality (absent: all have both): one that is not there is seen by no other,
        its features may be anything, also NaN, and its embedding is zero.
        """
        streams = [self.audio(features, of_modality(present, 0)), self.visual(features, of_modality(present, 1))]
        tokens = torch.stack(streams, dim=1)
        second = self.second(torch.arange(tokens.shape[2], device=tokens.device))
        tokens = tokens + second + self.modality.weight[:, None, :]
        videos, modalities, seconds, width = tokens.shape
        apart = 1 if self.settings.attention == "joint" else modalities
        sequences = videos * apart, modalities * seconds // apart
        tokens = tokens.view(*sequences, width)
        visible = None if present is None else visible_tokens(present.reshape(sequences))
        for layer in self.layers:
            tokens = self._through(layer, tokens, visible)
        outputs = self.norm(tokens).view(videos, modalities, seconds, width)
        if present is not None:
            outputs = outputs.masked_fill(~present[..., None], 0)
        audio, visual = outputs.to(torch.promote_types(outputs.dtype, torch.float32)).unbind(1)
        return audio, visual

    def _through(self, layer: nn.Module, tokens: Tensor, visible: Tensor | None) -> Tensor:
        after: Tensor
        if self.recompute and torch.is_grad_enabled():
            after = checkpoint(layer, tokens, visible, use_reentrant=False)
        else:
            after = layer(tokens, visible)
        return after


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
