"""What a training wants of each batch, from weak labels through every kind of cleaning that is set, each an option.

labels = "exchange"   labels of each modality, estimated by exchanging the other one (exchange, posterior)
denoise               labels dropped where their loss tells against them (denoise)
average               the average of the weights is what is judged and kept (average)
seconds               soft labels of seconds, by the average or by another model (outside), are learnt too
mixup                 videos are learnt in mixtures of two
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from finetune.batches import Batch, Split
from finetune.cleaning.average import Average
from finetune.cleaning.denoise import Denoise
from finetune.cleaning.exchange import Exchange, Making, estimate, with_both
from finetune.cleaning.outside import labels_of
from finetune.cleaning.posterior import noise_ratios, posterior
from finetune.cleaning.targets import OfModalities, OfSeconds, Targets, existing, mix
from finetune.network.pooling import Parsed
from finetune.parser import Parser
from finetune.present import having
from launch.progress import say
from launch.settings import Settings
from shards.schema import MODALITIES

RAREST = 1e-3
"""Share of the videos that a category counts as having, at least, when its seconds are weighed."""


class Cleaning(Settings):
    """How weak labels are cleaned; by default not at all, as in the paper."""

    labels: Literal["weak", "exchange", "pseudo"] = Field(
        "weak",
        description="of each modality: weak: the video's; exchange: as likely as they hold there; pseudo: as "
        "cleaning.pseudo has them",
    )
    modalities: tuple[Literal["audio", "visual"], ...] = Field(
        ("audio", "visual"), description="modalities whose labels are estimated; the others keep the video's"
    )
    unlikely: float = Field(
        0.9, gt=0, lt=1, description="share of the videos, the least probable, that a category's base rate is taken of"
    )
    exchange: Exchange = Exchange()
    denoise: bool = Field(False, description="drop labels from a modality with a large loss where the other's is small")
    average: float = Field(
        0.0, ge=0, lt=1, description="decay of the averaged weights that are judged and kept; 0: none"
    )
    seconds: Literal["none", "average", "pseudo"] = Field(
        "none", description="who labels seconds: nobody; average: the averaged parser, softly; pseudo: cleaning.pseudo"
    )
    seconds_from: int = Field(2, ge=1, description="first epoch in which labels of seconds by the average are learnt")
    balance: float = Field(
        0.0, ge=0, le=1, description="power of (absent / present) of a category in the weight of its positive seconds"
    )
    mixup: float = Field(0.0, ge=0, description="Beta(mixup, mixup) is the share of a video in its mixture; 0: none")
    pseudo: Path | None = Field(
        None, description="folder of segment-level pseudo-labels by another model: {audio,visual}/<id>.npy"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Cleaning":
        if self.seconds == "average" and not self.average:
            raise ValueError("cleaning.seconds is 'average', but cleaning.average is 0: set a decay such as 0.999.")
        if (self.seconds == "pseudo" or self.labels == "pseudo") != (self.pseudo is not None):
            raise ValueError("cleaning.pseudo goes with labels or seconds that are 'pseudo': set both, or neither.")
        if self.denoise and self.mixup:
            raise ValueError("cleaning.denoise looks at the losses of single videos, and mixup has none: set one.")
        return self

    @property
    def estimates(self) -> bool:
        """Whether parsers are trained that tell which labels hold in which modality."""
        return self.labels == "exchange" or self.denoise


class Cleaner:
    """Gives each batch its targets, and follows the training that learns from them."""

    def __init__(self, settings: Cleaning, train: Split, parser: Parser, pseudo: OfSeconds | None = None) -> None:
        """`pseudo`: what `cleaning.pseudo` holds for the videos of `train`.

        Of it only labels that the video has, in seconds that exist, are wanted.
        """
        self.settings, self._train = settings, train
        self._read, self._has = parser.settings, having(train.present)
        if pseudo is not None:
            pseudo = existing(pseudo * train.labels[:, None], train.present)
        self._pseudo = pseudo
        self.each = self._possible(Targets.weak(train.labels).each)
        """Of modalities that a video lacks, none."""
        self.noise = torch.zeros(len(MODALITIES), train.labels.shape[1], device=train.labels.device)
        self.ready = not settings.estimates
        """Whether the labels of the modalities are what they are to be; else `prepare` makes them."""
        if settings.labels == "pseudo" and pseudo is not None:
            self.each = self._possible(labels_of(pseudo, train.labels))
        both = None if self._has is None else self._has.all(dim=0)
        self.average = Average(parser, settings.average) if settings.average else None
        self._denoise = Denoise(train.labels, self.noise, both) if settings.denoise else None
        self._positive = self._weights()

    def prepare(self, making: Making, seed: int) -> None:
        """Estimates which labels hold in which modality; what `estimate` raises leaves all as it was.

        Those of a video with one modality alone hold in it, and are no part of the estimate.
        """
        rows = with_both(self._train).to(self.each.device)
        found, labels = estimate(self._train, making, self.settings.exchange, seed), self._train.labels[rows]
        likely = posterior(found[:, rows], labels, self.settings.unlikely)
        self.noise.copy_(noise_ratios(likely, labels))
        if self.settings.labels == "exchange":
            weak = Targets.weak(self._train.labels).each
            chosen = torch.tensor([name in self.settings.modalities for name in MODALITIES], device=rows.device)
            estimated = weak.index_copy(1, rows, likely)
            self.each = self._possible(estimated.where(chosen[:, None, None], weak))
        self.ready, self._positive = True, self._weights()
        heard, seen = (100 * (1 - likely.sum(dim=(1, 2)) / labels.sum().clamp(min=1))).tolist()
        of = "labels" if self._has is None else "labels of videos with sound and a picture"
        say(f"Of the {int(labels.sum()):,} {of} an estimated {heard:.0f}% are not heard, {seen:.0f}% not seen.")

    def targets(self, batch: Batch, epoch: int) -> tuple[Batch, Targets]:
        """What the parser is given of a batch, and what is wanted of it."""
        each = self.each[:, batch.rows]
        wanted = Targets(batch.labels, each, self._seconds(batch, each, epoch), self._positive)
        return self._mixed(batch, wanted) if self.settings.mixup else (batch, wanted)

    def denoised(self, targets: Targets, parsed: Parsed, batch: Batch) -> Targets:
        """The targets without the labels that this batch's losses tell against."""
        return self._denoise.apply(targets, parsed, batch.rows) if self._denoise else targets

    def follow(self, parser: Parser) -> None:
        """Takes a step of the parser into the average."""
        if self.average:
            self.average.follow(parser)

    def end_epoch(self) -> None:
        """Looks back at an epoch."""
        if self._denoise:
            self._denoise.end_epoch()

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on, by name."""
        found = {"ready": torch.tensor(self.ready), "each": self.each, "noise": self.noise}
        parts = {"average": self.average, "denoise": self._denoise}
        return found | {f"{name}.{key}": t for name, of in parts.items() if of for key, t in of.state().items()}

    def take(self, state: dict[str, Tensor]) -> None:
        """Goes to what `state` gave."""
        self.ready, self.each = bool(state["ready"]), state["each"].to(self.each.device)
        self.noise.copy_(state["noise"])
        self._positive = self._weights()
        for name, of in {"average": self.average, "denoise": self._denoise}.items():
            if of:
                own = {key: value for key, value in state.items() if key.startswith(f"{name}.")}
                of.take({key.removeprefix(f"{name}."): value for key, value in own.items()})

    def _weights(self) -> Float[Tensor, "modality category"] | None:
        """The weight of positive seconds, (absent / present) to the power of `balance`; changes with `each`."""
        if not self.settings.balance:
            return None
        share = self.each.mean(dim=1)
        if self._has is not None:
            share = share / self._has.float().mean(dim=1, keepdim=True).clamp(min=RAREST)
        share = share.clamp(RAREST, 0.5)
        return ((1 - share) / share) ** self.settings.balance

    def _possible(self, each: OfModalities) -> OfModalities:
        """The labels, less those of modalities that a video lacks."""
        return each if self._has is None else each * self._has[..., None]

    def _seconds(self, batch: Batch, each: OfModalities, epoch: int) -> OfSeconds | None:
        if self.settings.seconds == "pseudo" and self._pseudo is not None:
            return self._pseudo[:, batch.rows]
        if self.settings.seconds != "average" or self.average is None or epoch < self.settings.seconds_from:
            return None
        with torch.no_grad():
            taught: OfSeconds = self.average.parser(batch.features, batch.present).seconds
        return existing(taught * each[:, :, None], batch.present)

    def _mixed(self, batch: Batch, wanted: Targets) -> tuple[Batch, Targets]:
        count, device = len(batch.rows), batch.rows.device
        power = torch.full((count,), self.settings.mixup, device=device)
        share = torch.distributions.Beta(power, power).sample()
        share, partner = torch.maximum(share, 1 - share), torch.randperm(count, device=device)
        there = {name: self._read.present(name, batch.present) for name in batch.features}
        own = {name: existing(values, there[name]) for name, values in batch.features.items()}
        features = {name: mix(values, partner, share) for name, values in own.items()}
        present = None if batch.present is None else batch.present | batch.present[..., partner, :]
        return replace(batch, features=features, present=present), wanted.mixed(partner, share)
