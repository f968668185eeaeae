"""The page's tables: facts as HTML, every text escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from graph.report.words import Facts, by, interval, saturated

NAMED = 60
"""Hubs that the page names, at most."""


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table; the columns `numbers` stand to the right. The cells are texts, not HTML."""
    right = set(numbers)
    kind = ['class="n"' if column in right else "" for column in range(len(heads))]
    head = "".join(f'<th scope="col" {kind[column]}>{escape(text)}</th>' for column, text in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td {kind[column]}>{escape(text)}</td>" for column, text in enumerate(row)) + "</tr>"
        for row in rows
    )
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def refinement(facts: Facts) -> str:
    """The components before and after, and the rounds between."""
    heads = [
        "",
        "components",
        "single snippets",
        "largest of several videos",
        "π₀",
        "95% interval",
        "linked",
        "adjacent",
    ]
    stages = [("plain closure", "literal")] + ([("refined", "chosen")] if facts["rounds"] else [])
    rows = [
        [f"{stage}{by(way)}", f"{own['components']:,}", f"{own['singletons']:,}", f"{own['chained_share']:.2%}",
         *_estimate(own["pi0"]), f"{own['linked_share']:.1%}", f"{own['adjacent_recall']:.1%}"]
        for stage, when in stages
        for way, own in facts[when].items()
    ]  # fmt: skip
    told = table(
        "Shares of all snippets; linked: in a component with another video; adjacent: of neighbouring seconds, those "
        "in one component",
        heads,
        rows,
        range(1, 8),
    )
    if not facts["rounds"]:
        return "<p>No component was split: the positives are those of the plain closure.</p>" + told
    rounds = [
        [each["way"], each["by"], f"{each['tested']:,}", f"{each['failed']:,}", f"{each['snippets']:,}",
         *_estimate(each["pi0"])]
        for each in facts["rounds"]
    ]  # fmt: skip
    heads = [
        "components",
        "split by",
        "tested",
        "failed and split",
        "snippets in these",
        "π₀ afterwards",
        "95% interval",
    ]
    return (
        "<p>Components that looked random or were too large were split, never joined: refinement only removes "
        "positives.</p>" + told + table("Rounds of refinement", heads, rounds, range(2, 7))
    )


def largest(facts: Facts) -> str:
    """The largest components of each way."""
    parts = []
    for way, found in facts["largest"].items():
        names = list(found[0]["medians"]) if found else []
        heads = ["snippets", "videos", *(f"median {name}" for name in names), "weakest bridge", "parts", "some members"]
        heads += ["labels"] if facts["purity"] else []
        rows = [_component(each, bool(facts["purity"])) for each in found]
        title = "" if way == "joint" else f"<h3>By {way}</h3>"
        right = [*range(2 + len(names)), 3 + len(names)]
        told = table("Median: the cosine of pairs of members in different videos", heads, rows, right)
        parts.append(title + (f'<div class="long">{told}</div>' if rows else "<p>No component has two snippets.</p>"))
    return "".join(parts)


def _component(found: Facts, labelled: bool) -> list[str]:
    """The cells of one component, a name to a line: a key with a hyphen must not break there."""
    bridge = found["bridge"]
    cosines = ", ".join(f"{name} {value:.3f}" for name, value in bridge["cosines"].items()) if bridge else ""
    held = f"{cosines}:\n{bridge['first']}\n{bridge['second']}" if bridge else "no edge inside"
    parts = " + ".join(f"{part:,}" for part in bridge["parts"]) if bridge else "–"
    labels = ["\n".join(f"{label} {share:.0%}" for label, share in found["labels"].items())] if labelled else []
    medians = [f"{value:.3f}" for value in found["medians"].values()]
    examples = "\n".join(found["examples"])
    return [f"{found['snippets']:,}", f"{found['videos']:,}", *medians, held, parts, examples, *labels]


def batches(facts: Facts) -> str:
    """The positives expected in batches."""
    rows = [
        [f"{each['snippets']:,}", f"{each['pairs']:,.0f}", f"{each['positives']:,.0f}", f"{each['each']:.2f}"]
        for each in facts["batches"]
    ]
    heads = ["snippets in the batch", "pairs of two videos", "positive, expected", "positives a snippet"]
    chance = f"A random pair of two videos is positive with chance {facts['reach']['positive_chance']:.2e}."
    return f"<p>{chance}</p>" + table("Of whole videos drawn at random", heads, rows, range(4))


def purity(facts: Facts) -> str:
    """What labels say, where there are any."""
    if not facts["purity"]:
        return ""
    rows = [
        ["components" if way == "joint" else way, f"{own['sharing']:.1%}", f"{own['random']:.1%}", f"{own['mean']:.1%}",
         f"{own['weighted']:.1%}", f"{own['labelled']:,}", f"{own['unlabelled']:,}"]
        for way, own in facts["purity"].items()
    ]  # fmt: skip
    heads = ["", "positive pairs", "random pairs", "mean purity", "by snippets", "labelled videos", "without labels"]
    return (
        "<h2>Where labels are known</h2><p>Of pairs of two labelled videos, the share that has a label in common; and "
        "of each component's labelled videos, the share that has its commonest label, on average.</p>"
        + table("", heads, rows, range(1, 7))
    )


def built(facts: Facts) -> str:
    """How each modality's graph came about."""
    told = {
        "feature": lambda side: side["feature"],
        "numbers a snippet": lambda side: str(side["width"]),
        "made": lambda side: side["made"],
        "searched by": lambda side: side["engine"],
        "exactness": lambda side: f"exact from {side['floor']:g} up" if side["exact"] else "APPROXIMATE",
        "saturated lists": saturated,
        "edges of the forest": lambda side: f"{side['forest_edges']:,}",
        "all-zero rows": lambda side: f"{side['zero_rows']:,}",
        "exact copies": lambda side: f"{side['copies']:,}",
        "hubs": lambda side: f"{side['hubs']:,}" + (", which keep their edges" if side["hubs_keep_edges"] else ""),
    }
    rows = [[what, say(facts["audio"]), say(facts["visual"])] for what, say in told.items()]
    checked = "".join(f"<p>{escape(line)}</p>" for line in facts["checked"])
    return table("", ["", "audio", "visual"], rows) + checked


def hubs(facts: Facts) -> str:
    """The hubs by name, as far as there is room."""
    parts = []
    for name in ("audio", "visual"):
        known, count = facts[name]["hubs_named"][:NAMED], facts[name]["hubs"]
        items = "".join(f"<li>{escape(each)}</li>" for each in known)
        more = f"<p class=note>and {count - len(known):,} more, in report.json</p>" if count > len(known) else ""
        if known:
            told = f"{name} hubs ({count:,}): as near to many others as silence or black frames are"
            parts.append(f"<details><summary>{told}</summary><ul class=hubs>{items}</ul>{more}</details>")
    return "".join(parts)


def _estimate(pi0: Facts) -> tuple[str, str]:
    return (f"{pi0['value']:.2%}", interval(pi0)) if pi0["pairs"] else ("–", "no pair")
