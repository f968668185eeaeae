"""The pre-trained encoder: under a parser that trains it along, or behind the embeddings that shards hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from finetune.batches import Split, Traits
from finetune.parser import Parser, ParserSettings
from launch.refusal import Refusal
from pretrain.model import Description, Transformer, describe_encoder, load_encoder

SHORTEST = 8
"""Hexadecimal digits that name an encoder by the beginning of its digest."""


@dataclass(frozen=True)
class Start:
    """An encoder as its pre-training left it."""

    module: Transformer
    digest: str


def start(settings: ParserSettings, found: Mapping[str, Traits]) -> Start | None:
    """The encoder that the parser trains along, None for a parser without one; `found`: the traits of the features.

    Raises Refusal when its folder is damaged, and when it was pre-trained on other features than the parser reads.
    """
    if settings.encoder is None:
        return None
    described = describe_encoder(settings.encoder)
    _check_names(settings, described)
    for name, width in described.widths.items():
        there = (width, described.provenance.get("variants", {}).get(name, found[name]["variant"]))
        here = (found[name]["width"], found[name]["variant"])
        if here != there:
            raise Refusal(
                f"An encoder reads the features it was pre-trained on, but '{name}' is {here[0]} wide and '{here[1]}' "
                f"in the shards, and {there[0]} wide and '{there[1]}' in '{settings.encoder}': give shards of the "
                "same extraction, or another parser.encoder."
            )
    return Start(load_encoder(settings.encoder), described.digest)


def groups(
    parser: Parser, rate: float, encoder_rate: float, beside: Iterable[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """What Adam moves: the parser and what is trained beside it, and the encoder under it at a rate of its own.

    "lr" is a group's rate, and "at_start" the same, which stays when the other is let fall.
    """
    under = [] if parser.encoder is None else list(parser.encoder.parameters())
    own = [each for each in parser.parameters() if not any(each is one for one in under)]
    both = [([*own, *beside], rate), (under, encoder_rate)]
    return [{"params": moved, "lr": at, "at_start": at} for moved, at in both if moved]


def check_exporter(named: str, splits: tuple[Split, ...], features: tuple[str, ...]) -> None:
    """Raises Refusal unless every feature of the splits is an embedding by the named encoder ("": by any, or raw).

    `named` is the encoder's folder, or the beginning of its digest.
    """
    if not named:
        return
    digest = describe_encoder(Path(named)).digest if Path(named).is_dir() else named
    if len(digest) < SHORTEST or set(digest) - set("0123456789abcdef"):
        raise Refusal(
            f"An encoder is named by its folder, or by the first {SHORTEST} or more digits of its digest, but "
            f"exported_by is '{named}': give the `encoder` folder that pretrain wrote."
        )
    for split in splits:
        found = str(split.shards.manifest.source.get("encoder", ""))
        if not found.startswith(digest):
            of = f"the encoder {found[:12]}" if found else f"none ({', '.join(features)})"
            raise Refusal(
                f"Embeddings must be by the encoder that exported_by names, which is {digest[:12]}, but those in "
                f"'{split.shards.location}' are by {of}: export them with it, or name theirs."
            )


def _check_names(settings: ParserSettings, described: Description) -> None:
    for modality in ("audio", "visual"):
        read, known = getattr(settings, modality), getattr(described.model, modality)
        if tuple(read) != tuple(known):
            raise Refusal(
                f"A parser must read the features that its encoder was pre-trained on, but parser.{modality} is "
                f"{', '.join(read)} and '{settings.encoder}' reads {', '.join(known)}: set parser.{modality} to these."
            )
