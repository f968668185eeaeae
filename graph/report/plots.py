"""The report as one picture: similarities, thresholds of each modality, the grid of both, and the component sizes."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from graph.modality import Modality
from graph.report.findings import ALARM, Report, Samples
from graph.report.sweep import Curve, Grid

COLOURS = {"audio": "#d1603d", "visual": "#2f6690"}
INK, SOFT, ALERT = "#22303c", "#8a97a3", "#b3261e"
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6eaee",
    "legend.frameon": False,
}


def draw(
    ids: Int[np.ndarray, " snippet"],
    sides: Sequence[Modality],
    found: Report,
    title: str,
) -> Figure:
    """The figure, for `savefig`: three rows, audio on the left and visual on the right, then both joined."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 12.5), layout="constrained", facecolor="white")
        axes = figure.subplots(3, 2)
        for column, (side, sample, alone) in enumerate(zip(sides, found.drawn, found.curves, strict=True)):
            _similarities(axes[0, column], side, sample)
            _thresholds(axes[1, column], side, alone)
        if found.joint:
            _grid(figure, axes[2, 0], found.joint, (sides[0].threshold, sides[1].threshold))
        else:
            axes[2, 0].set_axis_off()
        _sizes(axes[2, 1], ids)
        figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    return figure


def _similarities(axes: Axes, side: Modality, sample: Samples) -> None:
    kinds = (
        ("two videos, at random", sample.other_video, SOFT),
        ("one second to the next", sample.next_second, "#e0a458"),
        ("nearest in another video", sample.nearest, COLOURS[side.name]),
    )
    lowest = min(float(np.percentile(values, 0.5)) for _, values, _ in kinds if len(values))
    bins = np.linspace(lowest, 1, 80).tolist()
    for label, values, colour in kinds:
        if len(values):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, bins, weights=weights, histtype="stepfilled", alpha=0.25, color=colour)
            axes.hist(values, bins, weights=weights, histtype="step", color=colour, label=label, linewidth=1.4)
    _mark(axes, side.threshold)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(title=f"{side.name.capitalize()}: how similar are snippets? ({side.matrix.feature})", xlabel="cosine")
    axes.set_ylabel("share of pairs")
    axes.legend(loc="upper left")


def _thresholds(axes: Axes, side: Modality, alone: Curve) -> None:
    lines = (
        ("linked to another video", [one.linked_share for one in alone.shapes], COLOURS[side.name], "-"),
        ("in the largest one", [one.largest_share for one in alone.shapes], INK, "-"),
        ("alone", [one.singletons / len(side.matrix) for one in alone.shapes], SOFT, "--"),
    )
    for label, values, colour, style in lines:
        axes.plot(alone.thresholds, values, style, color=colour, label=label, linewidth=1.8)
    axes.axhline(ALARM, color=ALERT, linewidth=0.8, linestyle=":")
    axes.annotate("5%", (1, ALARM), xycoords=("axes fraction", "data"), color=ALERT, xytext=(3, -3),
                  textcoords="offset points")  # fmt: skip
    _mark(axes, side.threshold)
    axes.set_title(f"{side.name.capitalize()} alone: where are snippets at each threshold?", pad=24)
    axes.set(xlabel="threshold (cosine)", ylabel="share of snippets", ylim=(-0.02, 1.1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    legend = axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 0.985), ncols=3, columnspacing=1, handlelength=1.4)
    legend.set_in_layout(False)  # above the plot, beside nothing: it must not make the plot narrower


def _grid(figure: Figure, axes: Axes, joint: Grid, chosen: tuple[float, float]) -> None:
    """The largest component's share as colour, the linked share as text, over both thresholds."""
    largest = np.array([[one.largest_share for one in row] for row in joint.shapes]).T
    linked = np.array([[one.linked_share for one in row] for row in joint.shapes]).T
    image = axes.imshow(largest, origin="lower", aspect="auto", cmap="YlOrRd", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(linked):
        colour = "white" if largest[row, column] > 0.6 else INK
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=7.5)
    axes.set_xticks(range(len(joint.audio)), [f"{value:.3f}" for value in joint.audio], rotation=60)
    axes.set_yticks(range(len(joint.visual)), [f"{value:.3f}" for value in joint.visual])
    place = (joint.audio.index(float(np.float32(chosen[0]))), joint.visual.index(float(np.float32(chosen[1]))))
    axes.add_patch(Rectangle((place[0] - 0.5, place[1] - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=2.2))
    axes.grid(False)
    axes.set_title("Joined: colour = share in the largest component,\nnumber = % linked to another video")
    axes.set(xlabel="threshold audio", ylabel="threshold visual")
    bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1, decimals=0), pad=0.01)
    bar.ax.spines[:].set_visible(False)


def _sizes(axes: Axes, ids: Int[np.ndarray, " snippet"]) -> None:
    sizes = np.bincount(ids)
    edges = np.unique(np.round(np.geomspace(1, sizes.max() + 1, 30)))
    axes.hist(sizes, bins=edges.tolist(), weights=sizes / len(ids), color=INK, alpha=0.85, rwidth=0.92)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set(title="At the chosen thresholds: component sizes", xlabel="snippets in the component")
    axes.set_ylabel("share of all snippets")


def _mark(axes: Axes, threshold: float) -> None:
    """The chosen threshold: a line from axis to axis and its value on top."""
    axes.axvline(threshold, color=INK, linewidth=1.2)
    axes.annotate(
        f"τ = {threshold:g}",
        (threshold, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-5, -3),
        textcoords="offset points",
        ha="right",
        va="top",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
    )
