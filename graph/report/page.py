"""The report as one HTML file: nothing is fetched, so it opens anywhere, from a folder as from a run's artifacts.

`page.html` holds the frame, the style and the script (the grid, the curves); this file fills it. Keys and labels are
whatever somebody called their files: everything that is filled in is escaped, and the data are JSON without a `<`.
"""

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from graph.report.findings import Report
from graph.report.tables import batches, built, hubs, largest, purity, refinement, table
from graph.report.words import Facts, by, interval, percent

COLOURS = ("--other", "--amber")
KINDS = {
    "other_video": "two videos, at random",
    "next_second": "a second and the next",
    "nearest": "nearest in another",
}
POSITIVE = {
    "joint": "Two snippets in one component. Pre-training pulls positives together and pushes all other pairs apart.",
    "per_modality": "Two snippets that share an audio component or a visual component. Pre-training pulls positives "
    "together and pushes all other pairs apart.",
}


def write(path: Path, report: Report, title: str) -> None:
    """Writes the page; `title` says what the graph is of."""
    path.write_text(page(report, title), encoding="utf-8")


def page(report: Report, title: str) -> str:
    """The page."""
    facts = report.facts
    parts = {
        "title": escape(title),
        "lead": escape(_lead(facts)),
        "warnings": _warnings(report.warnings),
        "tiles": "".join(_tile(*tile) for tile in _tiles(facts)),
        "positive": POSITIVE[facts["closure"]],
        "good": percent(facts["limits"]["pi0"]),
        "grid": _grid(facts),
        "modalities": "".join(_modality(name, facts[name], facts["limits"]) for name in ("audio", "visual")),
        "refinement": refinement(facts) + "".join(_sizes_figure(way) for way in facts["sizes"]["chosen"]),
        "largest": largest(facts),
        "batches": batches(facts),
        "purity": purity(facts),
        "built": built(facts) + hubs(facts),
        "lines": "".join(f"<li>{escape(line)}</li>" for line in report.lines),
        "data": json.dumps(_data(report), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    frame = (files("graph.report") / "page.html").read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda slot: parts[slot[1]], frame)  # in one pass: what is filled in is never read


def _lead(facts: Facts) -> str:
    rows = " and ".join(
        f"{facts[name]['feature']} ({facts[name]['width']} numbers) for {name}" for name in ("audio", "visual")
    )
    taken = ", ".join(f"{name} {facts[name]['threshold']:.4f}" for name in ("audio", "visual"))
    return (
        f"{facts['videos']:,} videos, {facts['snippets']:,} snippets, compared by {rows}. Thresholds: {taken}. "
        f"Two snippets must be similar in {'either' if facts['match'] == 'any' else 'both'}."
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    told = "".join(f"<p>{escape(warning[:1].upper() + warning[1:])}</p>" for warning in warnings)
    return f'<section class="warnings" role="alert"><h2>Look at this before you train on it</h2>{told}</section>'


def _tiles(facts: Facts) -> Iterable[tuple[str, str]]:
    """The numbers to read first, and what they are."""
    reach, batch = facts["reach"], facts["batches"][min(1, len(facts["batches"]) - 1)]
    yield f"{reach['linked_share']:.1%}", "of snippets have a positive in another video"
    for way, numbers in facts["chosen"].items():
        own, pi0 = by(way), numbers["pi0"]
        of = f"of positive pairs{own} look random: π₀, 95% interval {interval(pi0)}"
        yield (f"{pi0['value']:.2%}", of) if pi0["pairs"] else ("–", f"π₀: no positive pair of two videos{own}")
        yield f"{numbers['chained_share']:.2%}", f"of snippets are in the largest component{own} of several videos"
        yield f"{numbers['components']:,}", f"components{own}, {numbers['singletons']:,} of them single snippets"
    yield (
        f"{batch['positives']:,.0f}",
        f"positive pairs of two videos expected in a batch of {batch['snippets']:,} snippets",
    )
    yield f"{reach['adjacent_recall']:.1%}", "of neighbouring seconds are positives"


def _round(count: float) -> str:
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count:,.0f}"


def _tile(number: str, words: str) -> str:
    return f'<div class="tile"><b>{escape(number)}</b><span>{escape(words)}</span></div>'


def _grid(facts: Facts) -> str:
    if facts["grid"] is None:
        return (
            "<p>Edges need both modalities, so the pair of thresholds was fixed before the build, and there is no grid "
            "of them: build again for another pair.</p>"
        )
    metrics = {
        "largest_share": "Share in the largest component",
        "pi0": "π₀: positives that look random",
        "linked_share": "Snippets linked to another video",
        "chained_share": "Share in the largest component of several videos",
        "second_share": "Share in the second largest component",
        "positive_chance": "Chance that a random pair is positive",
        "adjacent_recall": "Neighbouring seconds in one component",
        "components": "Components",
        "singletons": "Single snippets",
    }
    options = "".join(f'<option value="{name}">{escape(words)}</option>' for name, words in metrics.items())
    alone = " The positives that were taken are of each modality alone, not of the two joined."
    apart = alone if facts["closure"] == "per_modality" else ""
    return (
        "<p>What the plain closure would give at every pair of thresholds (before refinement). The framed cell is the "
        "chosen pair. Point at a cell, or focus the grid and use the arrow keys; the table compares it with the "
        f"choice. Good cells link many snippets while the largest component and π₀ stay small.{apart}</p>"
        f'<div class="pick"><label for="metric">Colour shows</label><select id="metric">{options}</select></div>'
        '<div class="split"><figure><div id="grid"></div><div class="scale" id="scale"></div>'
        "<noscript><p>The grid needs JavaScript; report.png shows it without.</p></noscript></figure>"
        '<div class="scroll"><table><thead><tr><td></td><th scope="col" class="n">this cell</th>'
        '<th scope="col" class="n">chosen</th></tr></thead><tbody id="numbers" aria-live="polite"></tbody>'
        "</table></div></div>"
    )


def _modality(name: str, side: Facts, limits: Facts) -> str:
    """One modality: why this threshold, and three charts."""
    reason = side["choice"]["reason"] if side["choice"] else "The threshold was given, not chosen from the data."
    colours = (*COLOURS, f"--{name}")
    kinds = _keys((words, colour, True) for words, colour in zip(KINDS.values(), colours, strict=True))
    most = {what: f"limit: {percent(limit)}" for what, limit in limits.items()}
    shares = _keys((("linked to another video", f"--{name}", False), ("in the largest component", "--ink", False),
                    ("alone", "--other", False), (most["largest"], "--alert", False)))  # fmt: skip
    pi0 = _keys((("π₀ with its 95% interval", f"--{name}", False), (most["pi0"], "--alert", False)))
    figures = (
        ("How similar are snippets?", kinds, "similar"),
        ("Where are the snippets?", shares, "shares"),
        ("How many positives look random?", pi0, "pi0"),
    )
    charts = "".join(
        f'<figure><h3>{title}</h3>{keys}<div data-chart="{chart}" data-source="{name}_{chart}"></div></figure>'
        for title, keys, chart in figures
    )
    levels = _levels(side["choice"]["levels"]) if side["choice"] else ""
    return f'<h3>{name.capitalize()}</h3><p>{escape(reason)}</p><div class="three">{charts}</div>{levels}'


def _levels(levels: Sequence[Facts]) -> str:
    rows = [
        [f"{level['threshold']:.4f}", f"{level['pi0']['value']:.2%}",
         interval(level["pi0"]), f"{level['largest']:.2%}", f"{level['linked']:.1%}", f"{level['components']:,}"]
        for level in levels
    ]  # fmt: skip
    heads = ["threshold", "π₀", "95% interval", "largest component", "linked to another video", "components"]
    told = table("From the highest down, until a limit was broken", heads, rows, numbers=range(6))
    return f"<details><summary>Every level that was looked at ({len(rows)})</summary>{told}</details>"


def _sizes_figure(way: str) -> str:
    keys = _keys((("before refinement", "--other", True), ("the positives", "--visual", True)))
    return (
        f"<figure><h3>Sizes of the components{by(way)}, in shares of all snippets</h3>{keys}"
        f'<div data-chart="sizes" data-source="sizes_{way}"></div></figure>'
    )


def _keys(entries: Iterable[tuple[str, str, bool]]) -> str:
    """A legend: words, colour, and whether an area (or a line) has it."""
    spans = (
        f'<span{" class=box" if box else ""} style="--c: var({colour})">{words}</span>'
        for words, colour, box in entries
    )
    return f'<div class="keys">{"".join(spans)}</div>'


def _data(report: Report) -> Facts:
    """What the script draws."""
    facts, charts = report.facts, {}
    for (name, side), drawn in zip(((name, facts[name]) for name in ("audio", "visual")), report.drawn, strict=True):
        own: Facts = {"name": name, "threshold": side["threshold"], "sweep": side["sweep"]}
        alone = [count / facts["snippets"] for count in side["sweep"]["singletons"]]
        levels = [(each["threshold"], each["pi0"]["value"]) for each in (side["choice"] or {"levels": []})["levels"]]
        charts[f"{name}_shares"] = own | {"sweep": side["sweep"] | {"alone": alone}}
        charts[f"{name}_pi0"] = own | {"levels": levels}
        charts[f"{name}_similar"] = {"name": name, "threshold": side["threshold"]} | _histogram(name, vars(drawn))
    for way, sizes in facts["sizes"]["chosen"].items():
        both = {"chosen": sizes["snippets"], "literal": facts["sizes"]["literal"][way]["snippets"]}
        shares = {when: [count / facts["snippets"] for count in counts] for when, counts in both.items()}
        charts[f"sizes_{way}"] = {"from": facts["sizes"]["from"], **shares}
    place = report.grid and report.grid.place(facts["audio"]["threshold"], facts["visual"]["threshold"])
    return {"charts": charts, "limits": facts["limits"], "grid": facts["grid"] and facts["grid"] | {"chosen": place}}


def _histogram(name: str, drawn: dict[str, Any]) -> Facts:
    """The sampled cosines in bins, as shares of their kind."""
    known = [values for values in drawn.values() if len(values)]
    low = min((float(np.percentile(values, 0.5)) for values in known), default=0.0)
    bins = np.linspace(min(low, 0.99), 1, 61)
    shares = [(np.histogram(values, bins)[0] / max(len(values), 1)).round(5).tolist() for values in drawn.values()]
    colours = (*COLOURS, f"--{name}")
    kinds = [{"shares": each, "colour": colour} for each, colour in zip(shares, colours, strict=True)]
    return {"bins": bins.round(5).tolist(), "kinds": kinds}
