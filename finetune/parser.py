"""The parser: one class for HAN, the paper's Base, and every combination of skip, adversarial and gcaa.

    parser = Parser.from_pretrained("runs/han")
    parsed = parser({"vggish": …, "resnet152": …, "r2plus1d_18": …})     # each (video, second, width), float32

A saved parser is a folder with `parser.safetensors` and `settings.json`, the latter carrying what it was trained on.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from finetune.batches import TRAITS, Traits
from finetune.network.attention import Present
from finetune.network.blocks import Base, Han, Projection
from finetune.network.pooling import Parsed, Pooling
from launch.atomic import whole_file
from launch.digest import sha256_file, sha256_json
from launch.refusal import Refusal
from launch.settings import Settings
from pretrain.model import ModelSettings, Transformer
from shards.labels import CATEGORIES
from shards.schema import MODALITIES

WEIGHTS, SETTINGS = "parser.safetensors", "settings.json"
VERSION = 1
"""Version of the parser's files; another one is refused."""


class ParserSettings(Settings):
    """The architecture: which features go in, and what happens to them before the pooling."""

    audio: tuple[str, ...] = Field(("vggish",), description="audio features of the shards, by name")
    visual: tuple[str, ...] = Field(("resnet152", "r2plus1d_18"), description="visual features, by name")
    architecture: Literal["base", "han"] = Field("base", description="base: the paper's; han: hybrid attention")
    skip: bool = Field(False, description="base only: self-attended streams skip over the cross attention")
    adversarial: bool = Field(False, description="train against a modality discriminator behind gradient reversal")
    gcaa: bool = Field(False, description="global context aware attention in place of the plain one")
    width: int = Field(512, ge=1, description="width of every stream inside the parser")
    heads: int = Field(1, ge=1, description="attention heads; they share the width")
    hidden: int = Field(512, ge=1, description="width inside the feed-forward layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout in attention and feed-forward layers")
    encoder: Path | None = Field(
        None, description="folder of a pre-trained encoder: it is trained along, and the parser reads its embeddings"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "ParserSettings":
        if self.skip and self.architecture != "base":
            raise ValueError("skip needs architecture 'base': HAN has no self-attended stream to skip from.")
        if self.width % self.heads:
            raise ValueError(f"heads must divide the width, but {self.heads} does not divide {self.width}.")
        if not self.audio or not self.visual:
            raise ValueError("each modality needs at least one feature, but 'audio' or 'visual' is empty.")
        return self

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature the parser reads, audio first, each once."""
        return tuple(dict.fromkeys(self.audio + self.visual))

    def present(self, name: str, present: Present | None) -> Present | None:
        """The seconds, (video, second), that have a modality which this feature is read for."""
        if present is None or present.dim() == 2:
            return present
        return present[[name in self.audio, name in self.visual]].any(dim=0)


class Parser(nn.Module):
    """From the features of a batch of videos to what is heard and seen in each second."""

    def __init__(self, settings: ParserSettings, widths: Mapping[str, int], encoder: Transformer | None = None) -> None:
        """`encoder` is under the parser where the settings name one, and becomes a part of it."""
        super().__init__()
        assert (encoder is None) == (settings.encoder is None), settings.encoder
        self.settings, self.encoder = settings, encoder
        self.widths = {name: widths[name] for name in settings.features}
        self.trained_on: dict[str, Any] = {}
        """What the saved files say of the training: features, digests of the inputs, settings."""
        width, inner = settings.width, (settings.width, settings.heads, settings.hidden, settings.dropout)
        read = {"audio": settings.audio, "visual": settings.visual}
        if encoder is not None:
            read, widths = {name: (name,) for name in MODALITIES}, dict.fromkeys(MODALITIES, encoder.settings.width)
        self.audio = Projection(read["audio"], widths, width)
        self.visual = Projection(read["visual"], widths, width)
        han = settings.architecture == "han"
        self.trunk = Han(*inner, settings.gcaa) if han else Base(*inner, settings.gcaa, settings.skip)
        self.pooling = Pooling(width, len(CATEGORIES))

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "video second _"]],
        present: Bool[Tensor, "*modality video second"] | None = None,
    ) -> Parsed:
        """The probabilities, in float32 also under autocast; `features` may hold more than the parser reads.

        Where a video is shorter, `present` is False in its last seconds: nothing attends to them or pools them. Where
        a second lacks one modality, `present` says so as (modality, video, second): the second is attended to for the
        sake of the other, features of the one that is not there count as zeros, and nothing of it is pooled.
        """
        if self.encoder is not None:
            features = dict(zip(MODALITIES, self.encoder(features, _of_encoder(present)), strict=True))
        heard, seen = (None, None) if present is None or present.dim() == 2 else present
        streams = torch.stack([self.audio(features, heard), self.visual(features, seen)])
        joint = self.trunk(streams, _of_seconds(present))
        with torch.autocast(joint.device.type, enabled=False):
            return self.pooling(joint.float(), present)

    def save(self, folder: Path, trained_on: Mapping[str, Any]) -> None:
        """Writes the weights and the settings into `folder`, each whole or not at all.

        The settings hold the sha256 of the weights and are sealed by one of their own (canonical JSON of all the rest).
        Of the place that an encoder came from only the folder's name is kept.
        """
        with whole_file(folder / WEIGHTS) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, temporary)
        came_from = self.settings.encoder and Path(self.settings.encoder.name)
        content: dict[str, Any] = {
            "version": VERSION,
            "weights": sha256_file(folder / WEIGHTS),
            "parser": self.settings.model_copy(update={"encoder": came_from}).model_dump(mode="json"),
            "widths": self.widths,
            "encoder": self.encoder and self.encoder.settings.model_dump(mode="json"),
            "trained_on": dict(trained_on),
        }
        with whole_file(folder / SETTINGS) as temporary:
            temporary.write_text(json.dumps(content | {"seal": sha256_json(content)}, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "Parser":
        """The saved parser, in evaluation mode.

        Raises Refusal when the files are missing, damaged, altered, of another version, or do not belong together.
        """
        folder = Path(folder)
        content = _read_settings(folder)
        try:
            parser = cls(ParserSettings(**content["parser"]), content["widths"], _encoder(content))
            parser.trained_on = content["trained_on"]
            weights = load_file(folder / WEIGHTS)
            same = sha256_file(folder / WEIGHTS) == content["weights"]
        except (Refusal, KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
            raise _damaged(folder, f"{type(error).__name__}: {error}") from None
        shapes = {name: tensor.shape for name, tensor in parser.state_dict().items()}
        if not same or shapes != {name: tensor.shape for name, tensor in weights.items()}:
            raise _damaged(folder, f"the weights in {WEIGHTS} are not those that {SETTINGS} was written with")
        parser.load_state_dict(weights)
        return parser.eval()


def origin(parser: Parser, folder: Path) -> tuple[dict[str, Traits], int]:
    """The traits of the features a parser was trained on, and the number of its training videos.

    Raises Refusal when its files do not tell them, as those of a parser that another program saved.
    """
    told = parser.trained_on
    try:
        described = {name: told["features"][name] for name in parser.settings.features}
        features = {name: {trait: of[trait] for trait in TRAITS} for name, of in described.items()}
        return features, int(told["videos"]["train"])
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal(
            f"A parser must say which features and how many videos it was trained on, but '{folder}' does not "
            f"({type(error).__name__}: {error}): give the folder that finetune wrote."
        ) from None


def _of_encoder(present: Bool[Tensor, "*modality video second"] | None) -> Bool[Tensor, "video modality second"] | None:
    """What the encoder is told of it: both modalities of a second unless they are told apart."""
    if present is None:
        return None
    return present.transpose(0, 1) if present.dim() == 3 else present[:, None].expand(-1, len(MODALITIES), -1)


def _of_seconds(present: Bool[Tensor, "*modality video second"] | None) -> Bool[Tensor, "video second"] | None:
    """Which seconds are attended to: those with any modality; in a video of none all, so that attention is finite."""
    if present is None or present.dim() == 2:
        return present
    some = present.any(dim=0)
    return some | ~some.any(dim=1, keepdim=True)


def _encoder(content: Mapping[str, Any]) -> Transformer | None:
    """The encoder under a saved parser, with any weights; None for one that reads features as they are."""
    under = content["parser"].get("encoder") is not None
    return Transformer(ModelSettings(**content["encoder"]), content["widths"]) if under else None


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    try:
        content = json.loads(path.read_text())
        version = content.get("version")
    except OSError as error:
        raise Refusal(
            f"A parser is a folder with {WEIGHTS} and {SETTINGS}, but '{path}' cannot be read ({error.strerror}): "
            "give the folder that finetune wrote."
        ) from None
    except (ValueError, AttributeError) as error:
        raise _damaged(folder, str(error)) from None
    if version != VERSION:
        raise Refusal(
            f"A parser's files must have version {VERSION}, but '{path}' has {version!r}: "
            "train it again with this version of the project."
        )
    if content.pop("seal", None) != sha256_json(content):
        raise _damaged(folder, f"{SETTINGS} was altered since it was written")
    return content


def _damaged(folder: Path, found: str) -> Refusal:
    return Refusal(
        f"A parser's files must be whole and of one run, but those in '{folder}' are not ({found}): "
        "copy both again, or train again."
    )
