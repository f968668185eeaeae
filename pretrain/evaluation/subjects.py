"""Subjects: what is compared by labels: raw features, an encoder with random weights, the trained encoder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from launch.progress import track
from pretrain.batches import present_snippets
from pretrain.evaluation.encode import embed
from pretrain.evaluation.health import Embedded
from pretrain.evaluation.leak import follows
from pretrain.model import Transformer
from shards.present import as_told, snippets_there, told_by
from shards.read import Shards
from shards.schema import SECONDS, seconds_of

EXCHANGED = 200
"""Videos whose sound is exchanged to see what leaks."""


@dataclass(frozen=True)
class Subject:
    """A way from features to rows."""

    name: str
    audio: tuple[str, ...]
    visual: tuple[str, ...]
    encoder: Transformer | None
    """None: the features themselves, those of a modality side by side."""

    @property
    def encodes(self) -> bool:
        """Whether the rows of both modalities lie in one space."""
        return self.encoder is not None

    def rows(
        self,
        features: Mapping[str, Float[Tensor, "video second feature"]],
        present: Bool[Tensor, "video modality second"] | None = None,
    ) -> Embedded:
        """The rows of some videos, on the CPU in float32; `present`: which of their snippets there are (None: all)."""
        if self.encoder is None:
            audio, visual = (
                torch.cat([features[name].float() for name in names], dim=-1) for names in (self.audio, self.visual)
            )
            return Embedded(audio, visual, audio, visual, present)
        device = self.encoder.norm.weight.device
        with torch.inference_mode():
            there = None if present is None else present.to(device)
            found = embed(self.encoder, {name: array.to(device) for name, array in features.items()}, there)
        audio, visual = found.audio.cpu(), found.visual.cpu()
        return Embedded(audio, visual, found.audio_alone.cpu(), found.visual_alone.cpu(), present)

    def leak(self, shards: Shards) -> dict[str, float]:
        """`follows` of the first videos of a set that have all snippets; nothing for raw features, which know only
        their own."""
        if self.encoder is None:
            return {}
        rows = shards.batch(list(islice(_whole(shards), EXCHANGED)), self.encoder.settings.features)
        device = self.encoder.norm.weight.device
        features = {name: torch.from_numpy(array).to(device) for name, array in rows.features.items()}
        return follows(self.encoder, features, self.audio)


@dataclass(frozen=True)
class Seen:
    """What every subject made of a shard set."""

    keys: tuple[str, ...]
    means: dict[str, Float[Tensor, "video width"]]
    """By subject: the mean over the seconds that a video has, audio beside visual."""
    rows: dict[str, Embedded]
    """By subject: the rows of every second; empty unless they were asked for, since a training set's are many."""
    faults: tuple[str, ...]
    """One sentence a skipped video."""


def _whole(shards: Shards) -> Iterator[int]:
    """The places of the videos that have all snippets, in stored order."""
    told_in = told_by(shards.manifest.features)
    for start in range(0, len(shards), EXCHANGED):
        places, told = np.arange(start, min(start + EXCHANGED, len(shards))), []
        for name in told_in:
            read = shards.batch(places, [name])
            places, told = read.places, [as_told(read.features[name], shards.location)]
        whole = snippets_there([shards.keys[place] for place in places], *told).all(axis=(0, 2))
        yield from places[whole].tolist()


def subjects(trained: Transformer, seed: int) -> list[Subject]:
    """Raw features, an encoder of the same settings with random weights, and the trained one."""
    torch.manual_seed(seed)
    untrained = Transformer(trained.settings, trained.widths)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    named = {"raw features": None, "random encoder": untrained, "pre-trained encoder": trained}
    settings = trained.settings
    return [
        Subject(name, settings.audio, settings.visual, encoder and encoder.eval().to(device))
        for name, encoder in named.items()
    ]


def see(shards: Shards, compared: Sequence[Subject], keep_rows: bool, batch: int) -> Seen:
    """Reads a set once, in stored order, for all subjects."""
    keys: list[str] = []
    faults: list[str] = []
    means: dict[str, list[Tensor]] = {each.name: [] for each in compared}
    kept: dict[str, list[Embedded]] = {each.name: [] for each in compared}
    names = sorted({name for each in compared for name in (*each.audio, *each.visual)})
    told_in = told_by(shards.manifest.features)
    masked = bool(told_in) or any(seconds_of(key) < SECONDS for key in shards.keys)
    starts = range(0, len(shards), batch)
    for start in track(starts, f"Encoding '{shards.location}'", len(starts), "batches"):
        read = shards.batch(range(start, min(start + batch, len(shards))), [*names, *told_in])
        known = [shards.keys[place] for place in read.places]
        keys += known
        told = [as_told(read.features.pop(name), shards.location) for name in told_in]
        present = present_snippets(known, *told) if masked else None
        faults += read.faults
        features = {name: torch.from_numpy(array) for name, array in read.features.items()}
        for each in compared:
            rows = each.rows(features, present)
            means[each.name].append(rows.means())
            kept[each.name] += [rows] if keep_rows else []
    joined = {name: Embedded.joined(parts) for name, parts in kept.items() if parts}
    return Seen(tuple(keys), {name: torch.cat(parts) for name, parts in means.items()}, joined, tuple(faults))
