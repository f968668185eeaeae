"""The report's facts as sentences: what a person reads first, on the terminal, in the log and on top of the page."""

from collections.abc import Sequence
from typing import Any

THIN = 0.01
"""The share of snippets linked to another video below which there is next to nothing to learn from other videos."""
WITHIN = "within videos"
"""The engine of a graph that compares no two videos (`graph.modality.build_videos`)."""

Facts = dict[str, Any]


def lines(facts: Facts) -> list[str]:
    """What was found, a sentence or a few to a line, the warnings last."""
    found = [line for name in ("audio", "visual") for line in _side(name, facts[name])]
    found += [*facts["checked"], *_positives(facts), _batches(facts), *_purity(facts)]
    return [*found, *(f"WARNING: {warning}" for warning in facts["warnings"])]


def warnings(facts: Facts, given: Sequence[str]) -> list[str]:
    """What should keep a person from training on the components before they have looked, after what was `given`."""
    found = list(given)
    across = any(facts[name]["engine"] != WITHIN for name in ("audio", "visual"))
    if across and facts["reach"]["linked_share"] < THIN:
        found.append(
            f"only {facts['reach']['linked_share']:.2%} of the snippets are linked to another video, so nearly all "
            "positives are seconds of one video: lower a threshold (the grid shows what that costs)."
        )
    for name in ("audio", "visual"):
        if not facts[name]["exact"]:
            found.append(
                f"the {name} neighbours are APPROXIMATE ({facts[name]['engine']}): links of its graph may be missing "
                "at any threshold."
            )
        if facts[name]["hubs_keep_edges"]:
            found.append(
                f"{facts[name]['hubs']:,} {name} hubs keep their edges: silence or black frames join videos that have "
                "nothing in common."
            )
    return found


def shape_words(numbers: Facts) -> str:
    """A labelling in words."""
    pi0 = numbers["pi0"]
    random = f"π0 is {_estimate(pi0)}" if pi0["pairs"] else "no pair of two videos shares one"
    return (
        f"{numbers['components']:,} components, {numbers['singletons']:,} of them single snippets; the largest holds "
        f"{numbers['largest_share']:.1%} of all snippets, the largest of several videos "
        f"{numbers['chained_share']:.1%}; {random}; {numbers['linked_share']:.1%} of the snippets are linked to "
        "another video"
    )


def _side(name: str, side: Facts) -> list[str]:
    title = name.capitalize()
    hubs = "which keep their edges" if side["hubs_keep_edges"] else "which get no edges"
    reason = side["choice"]["reason"] if side["choice"] else f"Threshold {side['threshold']:g}, which you gave."
    return [
        f"{title}: {side['feature']}, {side['width']} numbers a snippet, {side['made']}. {reason}",
        f"{title}: {_search(side)} {side['zero_rows']:,} all-zero rows (no edges), {side['copies']:,} exact copies, "
        f"{side['hubs']:,} hubs{f' ({hubs})' if side['hubs'] else ''}.",
    ]


def _search(side: Facts) -> str:
    if not side["exact"]:
        lists = f"; {saturated(side)}" if side["saturated_share"] else ""
        return f"searched by {side['engine']}, APPROXIMATE: links may be missing at any threshold{lists}."
    without = ", for the graph without hubs" if side["hubs"] and not side["hubs_keep_edges"] else ""
    lists = f" ({saturated(side)})" if side["saturated_share"] else ""
    return f"searched by {side['engine']}: exact at every threshold from {side['floor']:g} up{without}{lists}."


def saturated(side: Facts) -> str:
    """How many of a modality's lists are saturated, and how what they leave out is known."""
    if not side["saturated_share"]:
        return "none"
    known = "was found by comparing every pair" if side["exact"] else "is not known"
    return f"{side['saturated_share']:.1%} of the lists are saturated: what they leave out {known}"


def _positives(facts: Facts) -> list[str]:
    rule = f"similar in {facts['match']} of the two" if facts["closure"] == "joint" else "each modality by itself"
    found = []
    for way, numbers in facts["literal"].items():
        found.append(f"Literal closure{by(way)} ({rule}): {shape_words(numbers)}.")
    for way, numbers in facts["chosen"].items():
        rounds = sum(each["way"] == way for each in facts["rounds"])
        if rounds:
            found.append(f"Refined{by(way)} in {rounds} rounds: {shape_words(numbers)}.")
    if not facts["rounds"]:
        found.append("No component was split: these are the positives.")
    return found


def _batches(facts: Facts) -> str:
    reach = facts["reach"]
    expected = ", ".join(
        f"{batch['positives']:,.0f} in one of {batch['snippets']:,} ({batch['each']:.2f} a snippet)"
        for batch in facts["batches"]
    )
    return (
        f"{reach['linked_share']:.1%} of the snippets have a positive in another video, {reach['adjacent_recall']:.1%} "
        f"of neighbouring seconds are positives, and a random pair of two videos is one with chance "
        f"{reach['positive_chance']:.2e}. Expected positive pairs of two videos in a random batch: {expected}."
    )


def _purity(facts: Facts) -> list[str]:
    return [
        f"Labels{by(way)}: of {numbers['pairs']:,} positive pairs of two labelled videos {numbers['sharing']:.1%} "
        f"share a label, of random pairs {numbers['random']:.1%}; mean purity of {numbers['components']:,} components "
        f"{numbers['mean']:.1%} ({numbers['weighted']:.1%} by snippets); {numbers['unlabelled']:,} of "
        f"{facts['videos']:,} videos have no label and are left out."
        for way, numbers in (facts["purity"] or {}).items()
    ]


def by(way: str) -> str:
    """What sets a way to be positive apart from the other, after a noun; nothing where there is one."""
    return "" if way == "joint" else f" by {way}"


def percent(share: float) -> str:
    """A limit: 2%, 2.5%."""
    return f"{100 * share:.3g}%"


def interval(share: Facts) -> str:
    """The 95% interval of an estimated share."""
    return f"{share['low']:.2%} to {share['high']:.2%}"


def _estimate(share: Facts) -> str:
    return f"{share['value']:.2%} (95%: {interval(share)}, {share['pairs']:,} pairs)"
