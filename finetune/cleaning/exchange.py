"""What each modality of a training video tells of its labels by itself: the other one is exchanged for another video's.

After Wu & Yang (CVPR 2021), with three changes. Exchange comes into training, too: a parser that met only pairs that
belong together leans on the other modality, and its probabilities mean little beside a foreign one. A video is looked
at by a parser that did not train on it, so that no label is remembered. And a probability becomes a label by what the
training labels themselves say of it (`posterior`), with no threshold chosen by hand.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from finetune.batches import Batch, Split
from finetune.cleaning.average import Average
from finetune.cleaning.targets import OfModalities
from finetune.encoder import groups
from finetune.losses import Diverged, cross_entropy
from finetune.network.attention import Present
from finetune.parser import Parser
from finetune.present import having
from launch.progress import track
from launch.refusal import Refusal
from launch.settings import Settings
from shards.schema import MODALITIES

LOOK = 250
"""Videos looked at at a time."""
TRIES = 50
"""Draws after which a video keeps the partner it has, though the two share a label: others are too rare to be hit."""


class Exchange(Settings):
    """The parsers that estimate which labels hold in which modality."""

    folds: int = Field(2, ge=2, description="parsers; each learns from all but its fold of the videos, and looks at it")
    epochs: int = Field(1, ge=1, description="passes over the videos of the other folds")
    batch: int = Field(32, ge=2, description="videos a step")
    learning_rate: float = Field(3e-4, gt=0, description="Adam's step size")
    average: float = Field(0.98, ge=0, lt=1, description="decay of the average of weights that looks")
    partners: int = Field(2, ge=1, description="unrelated videos that each modality is looked at beside")


@dataclass(frozen=True)
class Making:
    """How the parsers that estimate are made and moved: as the training has it that wants the labels."""

    make: Callable[[], Parser]
    """Gives a new parser."""
    encoder_learning_rate: float = 3e-5
    """Adam's step size for an encoder under the parser."""
    lower: bool = False
    """Whether products are in bfloat16."""
    between_steps: Callable[[], None] = lambda: None
    """Is called after each step and each look; what it raises ends the estimate."""


def estimate(train: Split, making: Making, settings: Exchange, seed: int) -> OfModalities:
    """The probability that each modality of each training video gives to each category by itself.

    Videos that lack a modality have nothing to exchange: they take no part, and are given 0.

    A function of the seed, on a CPU bit for bit. Raises Refusal for fewer videos than folds, and Diverged where a
    parser gives something that is no finite number.
    """
    rows = with_both(train)
    if len(rows) < settings.folds:
        whole = "" if len(rows) == len(train) else " with sound and a picture"
        raise Refusal(
            f"Each fold must hold a video, but there are {len(rows)} training videos{whole} for {settings.folds} "
            "folds: lower cleaning.exchange.folds, or train on more videos."
        )
    dice = torch.Generator().manual_seed(seed)
    fold = torch.randperm(len(rows), generator=dice) % settings.folds
    found = torch.zeros(len(MODALITIES), *train.labels.shape, device=train.labels.device)
    for number in range(settings.folds):
        torch.manual_seed(int(torch.randint(2**62, (), generator=dice)))
        learnt, looked_at = rows[fold != number], rows[fold == number]
        what = f"labels by modality, part {number + 1}/{settings.folds}"
        parser = _learn(train, learnt, making, settings, what)
        found[:, looked_at] = _look(parser, train, looked_at, settings.partners, making, dice)
        if not found.isfinite().all():
            raise Diverged(
                f"Estimated labels must be finite numbers, but a parser of fold {number + 1} of {settings.folds} gives "
                f"others: lower cleaning.exchange.learning_rate (now {settings.learning_rate}), or look for extreme "
                "features."
            )
    return found


def with_both(train: Split) -> Int[Tensor, " video"]:
    """The places of the videos that have both modalities, on the CPU."""
    has = having(train.present)
    return torch.arange(len(train)) if has is None else has.all(dim=0).cpu().nonzero()[:, 0]


def exchanged(parser: Parser, own: Batch, partner: Batch) -> tuple[Batch, Batch]:
    """The batch with its own audio beside the partners' pictures, and with its own pictures beside their sound.

    A second is there where both videos have it; where they say which modalities it has, each modality has its own.
    """
    pairs = []
    for modality, kept in enumerate((parser.settings.audio, parser.settings.visual)):
        features = partner.features | {name: own.features[name] for name in kept}
        pairs.append(Batch(own.rows, features, own.labels, _present(own.present, partner.present, modality)))
    return pairs[0], pairs[1]


def _present(own: Present | None, partner: Present | None, kept: int) -> Present | None:
    if own is None or partner is None:
        return own
    if own.dim() == 2:
        return own & partner
    return torch.stack([own[m] if m == kept else partner[m] for m in range(len(MODALITIES))])


def unrelated(rows: Int[Tensor, " video"], labels: Tensor, dice: torch.Generator) -> Int[Tensor, " video"]:
    """For each of the rows one of them that has no label in common with it, drawn among all such.

    Where `TRIES` draws hit none, it is whichever was drawn last: one with a common label, or the video itself.
    """
    partner = rows[torch.randint(len(rows), rows.shape, generator=dice)]
    for _ in range(TRIES):
        clash = ((labels[rows] * labels[partner]).sum(dim=1) > 0).cpu().nonzero()[:, 0]
        if not len(clash):
            break
        partner[clash] = rows[torch.randint(len(rows), clash.shape, generator=dice)]
    return partner


def _learn(train: Split, rows: Int[Tensor, " video"], making: Making, settings: Exchange, what: str) -> Parser:
    """The averaged parser after its epochs on these videos; each beside the one before it in its batch."""
    parser = making.make().to(train.labels.device).train()
    moved = groups(parser, settings.learning_rate, making.encoder_learning_rate)
    optimizer = torch.optim.Adam(moved, fused=True)
    average = Average(parser, settings.average)
    steps = list(_steps(rows, settings))
    for places in track(steps, what, unit="batch"):
        own = train.batch(places.to(train.labels.device))
        losses = [
            cross_entropy(probabilities, own.labels)
            for probabilities in _alone(parser, own, train.batch(own.rows.roll(1)), making.lower)
        ]
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        optimizer.step()
        average.follow(parser)
        making.between_steps()
    return average.parser


def _steps(rows: Int[Tensor, " video"], settings: Exchange) -> Iterator[Int[Tensor, " video"]]:
    for _ in range(settings.epochs):
        yield from rows[torch.randperm(len(rows))].split(settings.batch)


def _alone(parser: Parser, own: Batch, partner: Batch, lower: bool) -> Sequence[Tensor]:
    """The probabilities of the videos' audio, and those of their pictures, beside the partners' other modality."""
    heard, seen = exchanged(parser, own, partner)
    with torch.autocast(own.labels.device.type, torch.bfloat16, enabled=lower):
        return parser(heard.features, heard.present).audio, parser(seen.features, seen.present).visual


@torch.inference_mode()
def _look(
    parser: Parser, train: Split, rows: Int[Tensor, " video"], partners: int, making: Making, dice: torch.Generator
) -> OfModalities:
    """The mean probabilities of each modality of these videos beside several unrelated ones."""
    total = torch.zeros(len(MODALITIES), len(rows), train.labels.shape[1], device=train.labels.device)
    for _ in range(partners):
        beside = unrelated(rows, train.labels, dice)
        looks = []
        for own, other in zip(rows.split(LOOK), beside.split(LOOK), strict=True):
            looks.append(_alone(parser, train.batch(own), train.batch(other), making.lower))
            making.between_steps()
        total += torch.stack([torch.cat(each) for each in zip(*looks, strict=True)])
    return total / partners
