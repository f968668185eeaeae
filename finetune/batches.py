"""A split of the corpus wholly in memory, and the order in which training reads it.

All of LLP takes about half a gigabyte in float16, so it is read once and kept on the device; a batch is one gather
and one cast, with no work per video. Features are chosen by name: raw ones and exported embeddings are read alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from finetune.network.attention import Present
from finetune.present import lacking, present_seconds
from launch.progress import say, track
from launch.refusal import Refusal
from launch.tracking import Record
from shards.labels import CATEGORIES, Tables
from shards.present import as_told, told_by
from shards.read import ReadSettings, Shards, open_sets
from shards.schema import PRESENT, SECONDS

READ = 256
"""Videos read from the shards at a time."""
Missing = Literal["refuse", "skip"]
Traits = dict[str, str | int]
"""What makes a feature the one it is, by the names of `TRAITS`; "encoder" is the digest of an embedding's, else ""."""
TRAITS = ("width", "variant", "encoder")


@dataclass(frozen=True)
class Batch:
    """Some videos of a split, on its device."""

    rows: Int[Tensor, " video"]
    """Their places in the split."""
    features: dict[str, Float[Tensor, "video second _"]]
    labels: Float[Tensor, "video category"]
    """Weak labels, 0 or 1."""
    present: Present | None
    """What `Split.present` says of these videos."""


@dataclass(frozen=True)
class Split:
    """The videos of a split that have features, in the order of its table."""

    name: str
    keys: tuple[str, ...]
    missing: tuple[str, ...]
    """Videos the table names and the shards do not hold, or hold damaged (`reading.on_bad = "skip"`)."""
    features: Mapping[str, Float[Tensor, "video second _"]]
    """As they are stored (float16 unless the shards say otherwise), on the device."""
    labels: Float[Tensor, "video category"]
    """Weak labels, 0 or 1, on the device."""
    truth: tuple[Bool[np.ndarray, "video category second"], Bool[np.ndarray, "video category second"]]
    """What is audible and what is visible; all False where a video was not annotated densely (training)."""
    present: Present | None
    """Which seconds exist, or which have audio and which a picture where the shards say so, on the device; None where
    every video has them all."""
    shards: Shards
    faults: tuple[str, ...] = ()
    """One sentence for each video that the shards hold damaged."""

    @classmethod
    def load(
        cls,
        name: str,
        shards: Shards,
        tables: Tables,
        features: Sequence[str],
        missing: Missing = "refuse",
        device: torch.device | None = None,
    ) -> "Split":
        """The split `name` of the tables with these features of the shards.

        Raises Refusal when videos of the table are not in the shards (unless `missing` is "skip"), and when none is
        that can be read.
        """
        place = {key: index for index, key in enumerate(shards.keys)}
        wanted = tables.keys(name)
        keys = tuple(key for key in wanted if key in place)
        absent = tuple(key for key in wanted if key not in place)
        _check_missing(name, absent, keys, missing, shards)
        names = (*features, *told_by(shards.manifest.features))
        whole, faults, arrays = _read(shards, np.array([place[key] for key in keys]), names, f"reading {name}")
        if not whole.any():
            raise Refusal(
                f"A split needs at least one video that can be read, but all {len(keys):,} of {name} in "
                f"'{shards.location}' are bad ({faults[0]}): pack again."
            )
        absent += tuple(key for key, good in zip(keys, whole, strict=True) if not good)
        keys = tuple(key for key, good in zip(keys, whole, strict=True) if good)
        told = as_told(arrays.pop(PRESENT).numpy(), shards.location) if PRESENT in arrays else None
        return cls(
            name=name,
            keys=keys,
            missing=absent,
            features={feature: tensor.to(device) for feature, tensor in arrays.items()},
            labels=torch.from_numpy(tables.weak_matrix(keys)).float().to(device),
            truth=tables.truth(keys),
            present=present_seconds(keys, device, told),
            shards=shards,
            faults=faults,
        )

    def __len__(self) -> int:
        return len(self.keys)

    def batch(self, rows: Int[Tensor, " video"]) -> Batch:
        """The videos at these places, their features as float32."""
        features = {name: tensor[rows].float() for name, tensor in self.features.items()}
        return Batch(rows, features, self.labels[rows], None if self.present is None else self.present[..., rows, :])

    def in_order(self, size: int) -> Iterator[Batch]:
        """The whole split in table order, `size` videos at a time."""
        return map(self.batch, torch.arange(len(self), device=self.labels.device).split(size))

    def shuffled(self, size: int, seed: int, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The whole split once, in an order that is a function of (seed, epoch), from the batch `first` on.

        The last batch may be short.

        numpy may change what a generator draws from one version to the next, and the order with it: the same seed
        gives the same parser under the versions that `constraints.txt` pins.
        """
        order = torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(len(self))).to(self.labels.device)
        return map(self.batch, order.split(size)[first:])

    def steps(self, size: int) -> int:
        """How many batches an epoch has."""
        return ceil(len(self) / size)

    @property
    def never_labelled(self) -> tuple[str, ...]:
        """The categories that none of these videos is labelled with: not to be learnt from them, nor judged by them."""
        return tuple(name for name, some in zip(CATEGORIES, self.labels.any(dim=0).tolist(), strict=True) if not some)

    def describe(self) -> str:
        """What was read, and what it holds nothing of, in a sentence each."""
        mebibytes = sum(tensor.nbytes for tensor in self.features.values()) / 2**20
        skipped = f", {len(self.missing):,} of the table skipped" if self.missing else ""
        return (
            f"Read {len(self):,} {self.name} videos from '{self.shards.location}' "
            f"({', '.join(self.features)}; {mebibytes:,.0f} MiB{skipped})."
            + (f" None of them is labelled {', '.join(self.never_labelled)}." if self.never_labelled else "")
            + lacking(self.present)
        )


def load_splits(
    location: str | Path,
    tables: Tables,
    names: Sequence[str],
    features: Sequence[str],
    missing: Missing,
    device: torch.device,
    reading: ReadSettings | None = None,
    expected: Mapping[str, Traits] | None = None,
) -> list[Split]:
    """The named splits, from shard sets of those names or from one set that holds the videos of all of them.

    `expected` is what a parser was trained on; without it, all splits must agree with the first. Raises Refusal when
    they do not, when the folder lacks a set, and for what `Split.load` refuses.
    """
    sets, splits = open_sets(location, reading), list[Split]()
    for name in names:
        shards = sets.get(name, sets.get(""))
        if shards is None:
            raise Refusal(
                f"The shards must have a set '{name}', but '{location}' has {', '.join(sets)}: "
                "give the folder that pack or export wrote for these tables."
            )
        found = traits(shards, features)
        expected = expected or found
        check_same(expected, found, shards.location)
        splits.append(Split.load(name, shards, tables, features, missing, device))
        say(splits[-1].describe())
    return splits


def record_left_out(record: Record, splits: Sequence[Split]) -> None:
    """Counts and lists in the run the bad videos that were skipped, and all videos of the tables that are left out."""
    record.skipped(0, [fault for split in splits for fault in split.faults])
    missing = [f"{split.name}\t{key}" for split in splits for key in split.missing]
    record.metrics(0, {"missing_videos": len(missing)})
    if missing:
        record.text("missing.txt", "\n".join(missing) + "\n")
        say(f"Went on without {len(missing):,} videos of the tables, which are listed in the run's missing.txt.")


def traits(shards: Shards, features: Sequence[str]) -> dict[str, Traits]:
    """What makes each feature the one it is; raises Refusal for a name the shards do not hold."""
    for name in features:
        shards.check_feature(name)
    encoder = str(shards.manifest.source.get("encoder", ""))
    described = {name: shards.manifest.features[name] for name in features}
    return {name: {"width": one.width, "variant": one.variant, "encoder": encoder} for name, one in described.items()}


def check_same(expected: Mapping[str, Traits], found: Mapping[str, Traits], place: str) -> None:
    """Raises Refusal, naming the feature, the trait and the place, where what was found is not what was expected."""
    for name, traits_found in found.items():
        for trait, value in traits_found.items():
            if value != expected[name][trait]:
                raise Refusal(
                    f"A parser needs the same features throughout, but '{name}' in '{place}' has the {trait} "
                    f"{value!r} where its training had {expected[name][trait]!r}: give the shards of the same "
                    "extraction and encoder, or train a parser on these."
                )


def _read(
    shards: Shards, places: Int[np.ndarray, " video"], names: Sequence[str], what: str
) -> tuple[Bool[np.ndarray, " video"], tuple[str, ...], dict[str, Tensor]]:
    """Which of the videos at these places are whole, what ails the others, and the features of the whole ones.

    They are read in stored order, so forward.
    """
    described = {name: shards.manifest.features[name] for name in names}
    arrays = {name: np.empty((len(places), SECONDS, one.width), one.dtype) for name, one in described.items()}
    forward, whole, faults = np.argsort(places), np.zeros(len(places), bool), list[str]()
    for rows in track(np.split(forward, range(READ, len(forward), READ)), what, unit="batch"):
        found = shards.batch(places[rows], names)
        read = rows[np.isin(places[rows], found.places)]
        whole[read] = True
        for fault in found.faults:
            say(f"Skipped: {fault}")
        faults.extend(found.faults)
        for name, values in found.features.items():
            arrays[name][read] = values
    kept = {name: torch.from_numpy(array if whole.all() else array[whole]) for name, array in arrays.items()}
    return whole, tuple(faults), kept


def _check_missing(name: str, absent: tuple[str, ...], keys: tuple[str, ...], missing: Missing, shards: Shards) -> None:
    if absent and (missing == "refuse" or not keys):
        remedy = "set missing to 'skip' to go on without them and list them all" if keys else "give this split's shards"
        named = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
        raise Refusal(
            f"Every video of the {name} table must be in the shards, but {len(absent):,} of "
            f"{len(absent) + len(keys):,} are not in '{shards.location}' ({named}): pack them, or {remedy}."
        )
    if not keys:
        raise Refusal(f"A split needs at least one video, but the {name} table names none: check the tables.")
