"""Results of several seeds as the tables show them: mean and deviation of each score, differences of counterparts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from finetune.reproduction.results import Flat, Result
from finetune.reproduction.rows import Row
from finetune.scoring.protocol import in_short

LARGE = 768
"""Width of the encoder in pretrain/configs/base.toml; a narrower one is a small one."""


@dataclass(frozen=True)
class Cell:
    """A score over seeds: its mean, and its deviation (n - 1) where there is more than one; both in percent."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Cell":
        """Of at least one value."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)

    def text(self, sign: str = "") -> str:
        """`54.0 ± 0.3`; without a deviation only the mean; `sign` "+" shows that of a difference."""
        spread = "" if self.deviation is None else f" ± {self.deviation:.1f}"
        return f"{self.mean:{sign}.1f}{spread}"


@dataclass(frozen=True)
class Found:
    """The results of the chosen rows, and which were wanted."""

    rows: Sequence[Row]
    seeds: Mapping[str, Sequence[int]]
    """Row → the seeds that were asked for."""
    results: Mapping[tuple[str, int], Result]
    usual: Flat
    """The settings of a training by default."""
    failed: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Row and seed → how its trial failed, where it did."""

    def of(self, row: str) -> list[Result]:
        """A row's results in the order of their seeds."""
        return [self.results[row, seed] for seed in self.seeds.get(row, ()) if (row, seed) in self.results]

    def cells(self, row: str, level: str, kinds: Sequence[str]) -> list[Cell | None]:
        """One cell a kind; None where there is no result."""
        results = self.of(row)
        if not results:
            return [None] * len(kinds)
        return [Cell.of([result.scores[level][kind] for result in results]) for kind in kinds]

    def exclusive(self, row: str, level: str, kinds: Sequence[str]) -> list[Cell | None]:
        """The same of the scores of what is only heard and only seen."""
        results = [result.scores["exclusive"] for result in self.of(row) if "exclusive" in result.scores]
        found: list[Any] = [each[level] for each in results]
        return [Cell.of([each[kind] for each in found]) if found else None for kind in kinds]

    def difference(self, row: str, other: str, level: str, kinds: Sequence[str]) -> list[Cell | None]:
        """`row` minus `other` over the seeds that both have, a difference a seed."""
        shared = [seed for seed in self.seeds.get(row, ()) if {(row, seed), (other, seed)} <= self.results.keys()]
        if not shared:
            return [None] * len(kinds)
        pairs = [(self.results[row, seed].scores[level], self.results[other, seed].scores[level]) for seed in shared]
        return [Cell.of([one[kind] - two[kind] for one, two in pairs]) for kind in kinds]

    def shown_seeds(self, row: str) -> str:
        """The seeds of a row, a dash for each that is missing."""
        return " ".join(str(seed) if (row, seed) in self.results else "–" for seed in self.seeds[row])

    def facts(self) -> list[tuple[str, str, str]]:
        """What produced the numbers: subject, fact, and the rows it holds for (all of those that have results)."""
        held = dict[tuple[str, str], list[str]]()
        code = sorted({f"commit {each.commit}" if each.commit else each.code[:12] for each in self.results.values()})
        for row in self.rows:
            for result in self.of(row.name):
                for subject, fact in _facts(result, self.usual).items():
                    titles = held.setdefault((subject, fact), [])
                    if row.title not in titles:
                        titles.append(row.title)
        ordered = sorted(held.items(), key=lambda each: list(_SUBJECTS).index(each[0][0]))
        told = [(_SUBJECTS[subject], fact, ", ".join(titles)) for (subject, fact), titles in ordered]
        named = {row.name: row.title for row in self.rows}
        failed = [("failed", f"seed {seed}: {how}", named[row]) for (row, seed), how in self.failed.items()]
        return [*told, *([("code", ", ".join(code), "all")] if code else []), *failed]

    def means(self) -> dict[str, float]:
        """The mean of every score of every row by its path: "han/segment/type_at_av" and so on."""
        each = {row.name: [result.flat() for result in self.of(row.name)] for row in self.rows}
        return {
            f"{row}/{path}": float(np.mean([scores[path] for scores in found]))
            for row, found in each.items()
            for path in (found[0] if found else ())
        }

    @property
    def warning(self) -> str:
        """Whether the numbers may be compared with the paper's, and why not; empty without results."""
        return "; ".join(sorted({str(each.protocol["coverage"]).split(" (")[0] for each in self.results.values()}))

    def categories(self, row: str) -> dict[str, list[float | None]] | None:
        """Modality → the mean F1 of each category over seeds; None without a result."""
        results = self.of(row)
        if not results:
            return None
        return {name: _means([result.categories[name] for result in results]) for name in results[0].categories}


_SUBJECTS = {
    "coverage": "data",
    "protocol": "gate and thresholds",
    "features": "features",
    "encoder": "encoder",
    "recipe": "training",
    "cleaning": "label cleaning",
}
_LONG = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
"""A digest, of which the beginning is shown."""


def _facts(result: Result, usual: Flat) -> dict[str, str]:
    settings, protocol = {**usual, **result.identity.settings}, result.protocol
    cleaning = {name: value for name, value in settings.items() if name.startswith("cleaning.")}
    features = ", ".join(f"{name} ({of})" if of else name for name, of in protocol["features"].items())
    facts = {
        "coverage": f"{protocol['videos']:,} {protocol['split']} videos, {protocol['coverage']}",
        "protocol": in_short(protocol),
        "features": _LONG.sub(r"\1", features),
        "recipe": f"{settings['training.epochs']} epochs, {settings['training.batch']} videos a step, "
        f"Adam {settings['training.learning_rate']:g}, {settings['training.precision']}, the best epoch on validation",
        "encoder": encoder_in_short(result.about_encoder) if result.about_encoder else "",
        "cleaning": ", ".join(
            f"{name.removeprefix('cleaning.')} {value}" for name, value in cleaning.items() if value != usual[name]
        ),
    }
    return {subject: fact for subject, fact in facts.items() if fact}


def encoder_in_short(encoder: Mapping[str, Any]) -> str:
    """What is known of an encoder, in one line; whether it is a small one stands in it."""
    if "layers" not in encoder:
        return f"{encoder['digest'][:12]}, of which nothing else is known here"
    small = f"; small, for CPUs: no measure of one {LARGE} wide" if encoder["width"] < LARGE else ""
    return (
        f"{encoder['digest'][:12]}: {encoder['layers']} layers {encoder['width']} wide, {encoder['heads']} heads, "
        f"{encoder['weights'] / 1e6:.1f} million weights, loss {encoder['mode']}, {encoder['steps']} steps{small}"
    )


def _means(values: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The mean of each place over those that have a value there."""
    columns = [[value for value in column if value is not None] for column in zip(*values, strict=True)]
    return [float(np.mean(column)) if column else None for column in columns]
