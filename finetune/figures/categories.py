"""The figure of category-wise F1: what the paper's Figure 4 shows, audio beside visual."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shards.labels import CATEGORIES

CategoryScores = Mapping[str, Sequence[float | None]]
"""Modality → one F1 a category in percent, None where the category is neither true nor predicted."""


def category_figure(systems: Mapping[str, CategoryScores], title: str) -> Figure:
    """Horizontal bars of segment F1 a category, one panel a modality, one bar a system (at least one).

    Categories stand in the order of the first system's mean score, best on top. A category without a score has no bar,
    not one of length 0, and a dash in its place.
    """
    order = _order(next(iter(systems.values())))
    figure = Figure(figsize=(10, 3.2 + 0.26 * len(CATEGORIES) * max(1.0, 0.6 * len(systems))), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, 2, sharey=True)
    thickness = 0.8 / len(systems)
    for panel, modality in zip(panels, ("audio", "visual"), strict=True):
        for place, (name, found) in enumerate(systems.items()):
            values = [found[modality][category] for category in order]
            rows = np.arange(len(order)) + (place - (len(systems) - 1) / 2) * thickness
            _bars(panel, rows, values, thickness * 0.95, label=name, color=f"C{place}")
        panel.set(title=modality, xlim=(0, 106), xticks=range(0, 101, 20))
        panel.set_xlabel("segment F1 (%); –: neither true nor predicted")
        panel.grid(axis="x", alpha=0.3)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(np.arange(len(order)), [CATEGORIES[category].replace("_", " ") for category in order])
    panels[0].set_ylim(len(order) - 0.4, -0.6)
    if len(systems) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(systems))
    return figure


def _bars(
    panel: Axes, rows: np.ndarray, values: Sequence[float | None], thickness: float, label: str, color: str
) -> None:
    """A bar with its number for every score there is; a dash for every one there is not."""
    lengths = np.array([np.nan if value is None else value for value in values])
    scored = np.isfinite(lengths)
    bars = panel.barh(rows[scored], lengths[scored], thickness, label=label, color=color)
    panel.bar_label(bars, fmt="%.0f", padding=2, fontsize=7)
    for row in rows[~scored]:
        panel.text(1, row, "–", color=color, va="center", fontsize=7)


def _order(found: CategoryScores) -> list[int]:
    """The categories by falling mean of the scores they have; those without any last."""
    each = [[found[modality][index] for modality in ("audio", "visual")] for index in range(len(CATEGORIES))]
    present = [[value for value in values if value is not None] for values in each]
    means = [float(np.mean(values)) if values else -1.0 for values in present]
    return [int(index) for index in np.argsort(means)[::-1]]
