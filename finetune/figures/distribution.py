"""The figure of labels: how many videos hold each category audibly, visibly, or both, as the paper's Figure 1 shows."""

import numpy as np
from matplotlib.figure import Figure

from shards.labels import CATEGORIES, Tables

KINDS = {"only heard": "#3b76af", "heard and seen": "#8d8d8d", "only seen": "#c85450"}
"""The three disjoint kinds and their colours."""


def label_counts(tables: Tables, split: str = "test") -> dict[str, list[int]]:
    """Kind (`KINDS`) → videos of each category, by the dense tables of the split.

    A category is heard in a video that has it audibly in any second, and seen likewise, not necessarily in the same
    one. So counted, the real test tables give what the paper's text says of its Figure 1: about 600 videos with
    audible and 120 with visible speech (620 and 142 in the tables), 77% of speech only heard, 2,083 and 1,444 in all
    (the paper: 2,090 and 1,447).
    """
    audio, visual = tables.truth(tables.keys(split))
    heard, seen = np.any(audio, axis=2), np.any(visual, axis=2)
    parts = (heard & ~seen, heard & seen, seen & ~heard)
    return {kind: part.sum(axis=0).tolist() for kind, part in zip(KINDS, parts, strict=True)}


def distribution_figure(counts: dict[str, list[int]], split: str = "test") -> Figure:
    """A bar a category, in three parts, longest on top, with the share that is only heard and that is only seen."""
    totals = np.sum(list(counts.values()), axis=0)
    order = np.argsort(-totals, kind="stable")
    figure = Figure(figsize=(9, 8), layout="constrained")
    panel = figure.subplots()
    rows, left = np.arange(len(order)), np.zeros(len(order))
    for kind, color in KINDS.items():
        values = np.asarray(counts[kind])[order]
        panel.barh(rows, values, left=left, height=0.75, color=color, label=f"{kind} ({values.sum():,})")
        left = left + values
    for row, category in enumerate(order):
        total = int(totals[category])
        shares = [f"{100 * counts[kind][category] / total:.0f}%" for kind in KINDS] if total else ["–"]
        words = panel.annotate(
            " · ".join(shares), (left[row], row), (4, 0), textcoords="offset points", va="center", fontsize=7
        )
        words.set_in_layout(False)
    panel.set_yticks(rows, [CATEGORIES[category].replace("_", " ") for category in order])
    panel.set_ylim(len(order) - 0.4, -0.6)
    panel.set_xlim(0, max(1, totals.max()) * 1.18)
    panel.set_xlabel(f"{split} videos; behind each bar the shares of its three parts (–: no video)")
    panel.set_title(f"What is heard and what is seen in the {split} videos")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(loc="lower right")
    return figure
