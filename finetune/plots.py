"""The figure of category-wise F1: what the paper's Figure 4 shows, audio beside visual."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from shards.labels import CATEGORIES

CategoryScores = Mapping[str, Sequence[float | None]]
"""Modality → one F1 a category in percent, None where the category is neither true nor predicted."""


def category_figure(systems: Mapping[str, CategoryScores], title: str) -> Figure:
    """Horizontal bars of segment F1 a category, one panel a modality, one bar a system (at least one).

    Categories stand in the order of the first system's mean score, best on top; a category without a score is marked.
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
            bars = panel.barh(rows, [value or 0.0 for value in values], thickness * 0.95, label=name, color=f"C{place}")
            panel.bar_label(bars, ["–" if v is None else f"{v:.0f}" for v in values], padding=2, fontsize=7)
        panel.set(title=modality, xlabel="segment F1 (%)", xlim=(0, 106), xticks=range(0, 101, 20))
        panel.grid(axis="x", alpha=0.3)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(np.arange(len(order)), [CATEGORIES[category].replace("_", " ") for category in order])
    panels[0].set_ylim(len(order) - 0.4, -0.6)
    if len(systems) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(systems))
    return figure


def _order(found: CategoryScores) -> list[int]:
    means = [
        np.mean([found[modality][index] or 0.0 for modality in ("audio", "visual")]) for index in range(len(CATEGORIES))
    ]
    return [int(index) for index in np.argsort(means)[::-1]]
