"""The timeline of one video: who is heard, who is seen, and what is both at once, beside the truth when it is known."""

from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from finetune.figures.letters import write
from finetune.parses.events import LANES, Event, VideoParse, in_lane
from shards.labels import CATEGORIES

_TWENTY = colormaps["tab20"](range(20))
_SHADES = [tuple(shade) for shade in (*_TWENTY[::2], *_TWENTY[1::2], *colormaps["Set2"](range(5)))]
COLOURS = dict(zip(CATEGORIES, _SHADES, strict=True))
"""Each category's colour, the same in every picture."""
HEIGHT = 0.38
"""Of a bar, in rows."""
GREY = "0.92"
SHORT = 20
"""Seconds of a video up to which each has a mark on the axis; in longer ones a bar needs 1/20 of it for its number."""


def timeline_figure(
    parse: VideoParse,
    truth: Sequence[Event] | None = None,
    blank: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    warning: str = "",
) -> Figure:
    """Three lanes of bars over seconds, a row a category that is predicted (or true) in the lane.

    A predicted bar is full and carries its confidence, unless it is too narrow in a long video; the true one, where
    truth is known, is pale and hatched below it. A lane in which nothing happens says so, or why nothing can. `blank`
    names, by lane, the times at which nothing can be known, which are grey; a `warning` stands below the title.
    """
    rows = [_rows(in_lane((*parse.events, *(truth or ())), lane)) for lane in LANES]
    heights = [max(1, len(each)) for each in rows]
    silence = _silence(blank or {}, parse.seconds)
    figure = Figure(figsize=(9 if parse.seconds <= SHORT else 14, 1.9 + 0.42 * sum(heights)), layout="constrained")
    title = f"{parse.key}\n{warning}" if warning else parse.key
    write(figure.suptitle("", fontsize=11), title)
    panels = figure.subplots(len(LANES), 1, sharex=True, height_ratios=heights)
    for panel, lane, names in zip(panels, LANES, rows, strict=True):
        _lane(panel, lane.replace("_", "-"), names, silence.get(lane, "no event"))
        for event in in_lane(parse.events, lane):
            narrow = event.offset - event.onset < parse.seconds / SHORT
            _predicted(panel, event, names, 0.0 if truth is None else -HEIGHT / 2, narrow)
        for event in in_lane(truth or (), lane):
            _true(panel, event, names)
        for start, end in (blank or {}).get(lane, ()):
            panel.axvspan(start, end, color=GREY, linewidth=0, zorder=0)
        panel.set_xlim(0, parse.seconds)
    if parse.seconds <= SHORT:
        panels[-1].set_xticks(range(parse.seconds + 1))
    panels[-1].set_xlabel("second")
    shown = [name for name in CATEGORIES if any(name in each for each in rows)]
    _legend(figure, shown, truth is not None, any((blank or {}).values()))
    return figure


def _rows(events: Sequence[Event]) -> list[str]:
    """The categories of a lane, the earliest first."""
    onsets = dict[str, float]()
    for event in events:
        onsets[event.category] = min(event.onset, onsets.get(event.category, event.onset))
    return sorted(onsets, key=lambda name: (onsets[name], name))


def _silence(blank: Mapping[str, Sequence[tuple[float, float]]], seconds: int) -> dict[str, str]:
    """What the lanes lack that are grey from beginning to end; the last second may be shorter than a second."""
    audio, visual, _ = LANES
    grey = {lane for lane, spans in blank.items() if sum(end - start for start, end in spans) > seconds - 1}
    said = {audio: "no sound", visual: "no picture"}
    lacking = [words for lane, words in said.items() if lane in grey] or ["nothing known"]
    return {lane: said.get(lane, " and ".join(lacking)) for lane in grey}


def _lane(panel: Axes, title: str, names: Sequence[str], empty: str) -> None:
    panel.set_title(title, loc="left", fontsize=9, fontweight="bold")
    panel.set_ylim(max(1, len(names)) - 0.5, -0.5)
    panel.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    panel.grid(axis="x", alpha=0.3)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    if not names:
        panel.text(0.5, 0.5, empty, transform=panel.transAxes, ha="center", va="center", color="gray", fontsize=8)


def _predicted(panel: Axes, event: Event, names: Sequence[str], shift: float, narrow: bool) -> None:
    row, length = names.index(event.category) + shift, event.offset - event.onset
    panel.barh(row, length, HEIGHT, left=event.onset, color=COLOURS[event.category], edgecolor="black", linewidth=0.6)
    if narrow:
        return
    number = f"{event.confidence:.2f}"
    panel.text(event.onset + length / 2, row, number, ha="center", va="center", fontsize=7, bbox=_PAPER)


_PAPER = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}


def _true(panel: Axes, event: Event, names: Sequence[str]) -> None:
    row, length = names.index(event.category) + HEIGHT / 2, event.offset - event.onset
    pale = (*COLOURS[event.category][:3], 0.4)
    panel.barh(row, length, HEIGHT, left=event.onset, facecolor=pale, edgecolor="dimgray", hatch="////", linewidth=0.6)


def _legend(figure: Figure, names: Sequence[str], with_truth: bool, with_blank: bool) -> None:
    """A key to the colours, and to the two kinds of bars."""
    kinds = [Patch(facecolor="lightgray", edgecolor="black", linewidth=0.6, label="predicted, with its confidence")]
    kinds += [Patch(facecolor="white", edgecolor="dimgray", hatch="////", label="true")] if with_truth else []
    kinds += [Patch(facecolor=GREY, label="no sound, no picture, or not parsed")] if with_blank else []
    colours = [Patch(facecolor=COLOURS[name], label=name.replace("_", " ")) for name in names]
    figure.legend(handles=[*kinds, *colours], loc="outside lower center", ncols=4, fontsize=8, frameon=False)
