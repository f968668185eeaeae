"""What the values of a feature look like: mean, deviation, share of zeros, range; and which VGGish they would be."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Float

from shards.sources.arrays import DEQUANTISED, SIGNED, VGGISH, variant_of


@dataclass(frozen=True)
class Statistics:
    """Moments of many values; those of two parts give those of the whole."""

    values: int
    mean: float
    squares: float
    """Sum of the squared distances from the mean."""
    zeros: int
    silent: int
    """Seconds that are zero throughout: silence, black frames, or a feature that is missing."""
    seconds: int
    least: float
    most: float

    @classmethod
    def of(cls, array: Float[np.ndarray, "second width"]) -> "Statistics":
        """The statistics of one video's feature; its values must be finite."""
        values = array.astype(np.float64)
        mean = float(values.mean())
        return cls(
            values=values.size,
            mean=mean,
            squares=float(((values - mean) ** 2).sum()),
            zeros=int((values == 0).sum()),
            silent=int((values == 0).all(axis=1).sum()),
            seconds=len(values),
            least=float(values.min()),
            most=float(values.max()),
        )

    def __add__(self, other: "Statistics") -> "Statistics":
        """Chan's update: no sum of raw squares, which would cancel."""
        values, apart = self.values + other.values, other.mean - self.mean
        return Statistics(
            values=values,
            mean=self.mean + apart * other.values / values,
            squares=self.squares + other.squares + apart**2 * self.values * other.values / values,
            zeros=self.zeros + other.zeros,
            silent=self.silent + other.silent,
            seconds=self.seconds + other.seconds,
            least=min(self.least, other.least),
            most=max(self.most, other.most),
        )

    @property
    def deviation(self) -> float:
        """The standard deviation of the values."""
        return float(np.sqrt(self.squares / self.values))


@dataclass(frozen=True)
class Looks:
    """The statistics of a feature, and the variants of VGGish that its videos look like."""

    statistics: Statistics
    variants: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, array: Float[np.ndarray, "second width"]) -> "Looks":
        """What one video's feature looks like."""
        variant = variant_of(array) if name == VGGISH else None
        return cls(Statistics.of(array), frozenset({variant} if variant else ()))

    def __add__(self, other: "Looks") -> "Looks":
        return Looks(self.statistics + other.statistics, self.variants | other.variants)


def together(parts: list[dict[str, Looks]]) -> dict[str, Looks]:
    """The looks of each feature over all parts."""
    return reduce(lambda one, other: {name: one[name] + other[name] for name in one}, parts) if parts else {}


def table(looks: dict[str, Looks], declared: dict[str, str]) -> list[str]:
    """Lines of a table, one a feature; `declared` is the variant that the manifest says of each."""
    head = ("feature", "mean", "deviation", "zeros", "silent", "least", "most", "variant", "looks like")
    rows = [head]
    for name, each in looks.items():
        found = each.statistics
        rows.append(
            (
                name,
                f"{found.mean:.4g}",
                f"{found.deviation:.4g}",
                f"{found.zeros / found.values:.1%}",
                f"{found.silent / found.seconds:.1%}",
                f"{found.least:.4g}",
                f"{found.most:.4g}",
                declared[name] or "-",
                _looks(declared[name], each.variants),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _looks(declared: str, variants: frozenset[str]) -> str:
    """What a feature looks like; values that were quantised and are values again look signed."""
    if declared == DEQUANTISED and variants == {SIGNED}:
        return declared
    return ", ".join(sorted(variants)) or "-"
