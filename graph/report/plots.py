"""The report as one picture: similarities, thresholds of each modality, the grid of both, and refinement."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter

from graph.report.findings import Report
from graph.report.samples import Samples
from graph.report.sweep import Curve, Grid
from graph.report.words import Facts, by, percent

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
GRIDS = (
    ("largest_share", "share in the largest component", "YlOrRd"),
    ("pi0", "π₀, positives that look random", "YlOrRd"),
    ("linked_share", "share linked to another video", "YlGnBu"),
)


def draw(report: Report, title: str) -> Figure:
    """The figure, for `savefig`: audio on the left and visual on the right, then both joined, then refinement."""
    facts = report.facts
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13, 18.5 if report.grid else 14.5), layout="constrained", facecolor="white")
        rows = GridSpec(5 if report.grid else 4, 6, figure=figure)
        for column, name in ((slice(3), "audio"), (slice(3, 6), "visual")):
            drawn, alone = report.drawn[column.stop // 3 - 1], report.curves[column.stop // 3 - 1]
            _similarities(figure.add_subplot(rows[0, column]), name, facts[name], drawn)
            _shares(figure.add_subplot(rows[1, column]), name, facts, alone)
            _pi0(figure.add_subplot(rows[2, column]), name, facts, alone)
        if report.grid:
            chosen = report.grid.place(facts["audio"]["threshold"], facts["visual"]["threshold"])
            for place, (metric, words, colours) in enumerate(GRIDS):
                axes = figure.add_subplot(rows[3, 2 * place : 2 * place + 2])
                _grid(figure, axes, report.grid, metric, words, colours, chosen)
        ways = list(facts["sizes"]["chosen"])
        for place, way in enumerate(ways):
            columns = slice(6 * place // len(ways), 6 * (place + 1) // len(ways))
            _sizes(figure.add_subplot(rows[-1, columns]), facts, way)
        figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    return figure


def _similarities(axes: Axes, name: str, side: Facts, sample: Samples) -> None:
    kinds = (
        ("two videos, at random", sample.other_video, SOFT),
        ("one second to the next", sample.next_second, "#e0a458"),
        ("nearest in another video", sample.nearest, COLOURS[name]),
    )
    lowest = min((float(np.percentile(values, 0.5)) for _, values, _ in kinds if len(values)), default=0.0)
    bins = np.linspace(min(lowest, 0.99), 1, 80).tolist()
    for label, values, colour in kinds:
        if len(values):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, bins, weights=weights, histtype="stepfilled", alpha=0.25, color=colour)
            axes.hist(values, bins, weights=weights, histtype="step", color=colour, label=label, linewidth=1.4)
    _mark(axes, side["threshold"])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(title=f"{name.capitalize()}: how similar are snippets? ({side['feature']})", xlabel="cosine")
    axes.set_ylabel("share of pairs")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left")


def _shares(axes: Axes, name: str, facts: Facts, alone: Curve) -> None:
    lines = (
        ("linked to another video", alone.values("linked_share"), COLOURS[name], "-"),
        ("in the largest component", alone.values("largest_share"), INK, "-"),
        ("alone", alone.values("singletons") / facts["snippets"], SOFT, "--"),
    )
    for label, values, colour, style in lines:
        axes.plot(alone.thresholds, values, style, color=colour, label=label, linewidth=1.8)
    _limit(axes, facts["limits"]["largest"])
    _mark(axes, facts[name]["threshold"])
    axes.set_title(f"{name.capitalize()} alone: where are snippets at each threshold?", pad=24)
    axes.set(xlabel="threshold (cosine)", ylabel="share of snippets", ylim=(-0.02, 1.1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    legend = axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 0.985), ncols=3, columnspacing=1, handlelength=1.4)
    legend.set_in_layout(False)  # above the plot, beside nothing: it must not make the plot narrower


def _pi0(axes: Axes, name: str, facts: Facts, alone: Curve) -> None:
    """π0 of the sweep with its interval, and of the levels that a choice looked at, with theirs."""
    values, low, high = (alone.values(part) for part in ("pi0", "pi0_low", "pi0_high"))
    axes.plot(alone.thresholds, values, color=COLOURS[name], linewidth=1.8, label="the sweep, with its 95% interval")
    axes.fill_between(alone.thresholds, low, high, color=COLOURS[name], alpha=0.2, linewidth=0)
    choice, limit = facts[name]["choice"], facts["limits"]["pi0"]
    if levels := choice["levels"] if choice else []:
        middle = np.array([level["pi0"]["value"] for level in levels])
        ends = np.array([[level["pi0"]["low"], level["pi0"]["high"]] for level in levels])
        reach = np.abs(ends - middle[:, None]).T
        places = [level["threshold"] for level in levels]
        axes.errorbar(
            places, middle, reach, fmt="o", markersize=3.5, color=INK, linewidth=1, label="looked at to choose"
        )
    axes.set_yscale("function", functions=(lambda share: np.sqrt(np.maximum(share, 0)), np.square))
    axes.yaxis.set_major_locator(FixedLocator([0, 0.1, 0.25, 0.5, 1]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _limit(axes, limit)
    _mark(axes, facts[name]["threshold"])
    axes.set(xlabel="threshold (cosine)", ylabel="π₀ (square-root scale)", ylim=(0, 1.05))
    axes.set_title(f"{name.capitalize()} alone: how many positives look random?", pad=24)
    legend = axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 0.985), ncols=2, columnspacing=1, handlelength=1.4)
    legend.set_in_layout(False)


def _grid(
    figure: Figure, axes: Axes, joint: Grid, metric: str, words: str, colours: str, chosen: tuple[int, int]
) -> None:
    """One number of the plain closure as colour over both thresholds; the chosen pair is framed."""
    norm = PowerNorm(0.5, 0, 1) if colours == "YlOrRd" else PowerNorm(1, 0, 1)
    image = axes.imshow(joint.values(metric).T, origin="lower", aspect="auto", cmap=colours, norm=norm)
    for values, ticks, turn in (
        (joint.audio, axes.set_xticks, 60),
        (joint.visual, axes.set_yticks, 0),
    ):
        places = np.unique(np.linspace(0, len(values) - 1, 8).round().astype(int))
        ticks(places.tolist(), [f"{values[place]:.3f}" for place in places], rotation=turn)
    for colour, width in (("white", 4), (INK, 1.8)):
        frame = Rectangle((chosen[0] - 0.7, chosen[1] - 0.7), 1.4, 1.4, fill=False, edgecolor=colour, linewidth=width)
        frame.set_clip_on(False)
        axes.add_patch(frame)
    axes.grid(False)
    axes.set_facecolor("#d9dde0")
    axes.set_title(f"Joined: {words}", fontsize=9.5)
    axes.set(xlabel="threshold audio", ylabel="threshold visual")
    bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1, decimals=0), pad=0.01, location="bottom")
    bar.ax.spines[:].set_visible(False)
    bar.set_ticks([0, 0.05, 0.25, 0.5, 1] if norm.gamma < 1 else [0, 0.25, 0.5, 0.75, 1])


def _sizes(axes: Axes, facts: Facts, way: str) -> None:
    """The share of snippets by the size of their component, before refinement and after it."""
    sizes = facts["sizes"]
    places = np.arange(len(sizes["from"]))
    for shift, when, colour, label in ((-0.2, "literal", SOFT, "plain closure"), (0.2, "chosen", INK, "the positives")):
        shares = np.array(sizes[when][way]["snippets"]) / facts["snippets"]
        axes.bar(places + shift, shares, 0.4, color=colour, label=label)
    axes.set_xticks(places, [f"{size:,}" for size in sizes["from"]], rotation=30 if len(places) > 10 else 0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.grid(False)
    axes.set_title(f"At the chosen thresholds: component sizes{by(way)}", pad=24)
    axes.set(xlabel="snippets in the component, from this many to below the next", ylabel="share of all snippets")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.985), ncols=2, columnspacing=1, handlelength=1.4)


def _limit(axes: Axes, share: float) -> None:
    """The most that an automatic choice allows."""
    axes.axhline(share, color=ALERT, linewidth=0.8, linestyle=":")
    axes.annotate(percent(share), (1, share), xycoords=("axes fraction", "data"), color=ALERT, xytext=(3, -3),
                  textcoords="offset points")  # fmt: skip


def _mark(axes: Axes, threshold: float) -> None:
    """The chosen threshold: a line from axis to axis and its value on top."""
    axes.axvline(threshold, color=INK, linewidth=1.2)
    low, high = axes.get_xlim()
    left = threshold > low + 0.3 * (high - low)
    axes.annotate(
        f"τ = {threshold:.4g}",
        (threshold, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if left else 5, -3),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
    )
