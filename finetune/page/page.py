"""One file's parse as one HTML file: nothing is fetched, so it opens anywhere, from a folder as from a run's artifacts.

`page.html` is the frame, `page.css` its style and `page.js` its script; this file fills the frame. Files and labels are
called whatever somebody called them: everything that is filled in is escaped, the data are JSON without a `<`, and the
page's own policy lets no script and no style run but these two.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any, Literal

from finetune.parses.events import DIGITS, Event
from finetune.parses.whole import Span, Whole
from shards.labels import CATEGORIES
from shards.schema import MODALITIES

NOTHING = {"audio": "There is no sound", "visual": "There is no picture"}
TITLES = {"audio": "heard", "visual": "seen", "audio_visual": "heard and seen"}


@dataclass(frozen=True)
class Played:
    """What the page plays."""

    kind: Literal["embedded", "linked", "none"]
    source: str = ""
    """A `data:` URI, or the address of the file relative to the page."""
    note: str = ""
    """A sentence on what is played, or why nothing is."""


@dataclass(frozen=True)
class Made:
    """How the parse came to be."""

    facts: Mapping[str, str]
    """Name → words: the parser, its features, the protocol."""
    warnings: Sequence[str] = ()
    """What must not be overlooked, a sentence each, such as random weights."""
    limit: float | None = None
    """The probability from which a second is positive; None where every category has its own."""


def page(whole: Whole, made: Made, played: Played) -> str:
    """The page."""
    frame, style, script = (_part(f"page.{kind}") for kind in ("html", "css", "js"))
    parts = {
        "title": escape(f"{whole.name} · parse"),
        "name": escape(whole.name),
        "lead": escape(_lead(whole)),
        "policy": _policy(style, script, played),
        "style": style,
        "script": script,
        "warnings": _warnings(made.warnings, [*_lacking(whole), *_unparsed(whole), *_notes(whole)]),
        "video": ""
        if played.kind == "none"
        else f'<video id="video" preload="auto" src="{escape(played.source)}"></video>',
        "played": escape(played.note),
        "truth": "" if whole.truth is None else "The hatched bar below an event is the truth, where it is known.",
        "key": escape(_key(made.limit)),
        "table": "".join(map(_row, whole.events)),
        "made": "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in made.facts.items()),
        "data": json.dumps(_data(whole, made, played), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"{{(\w+)}}", lambda slot: parts[slot[1]], frame)  # in one pass: what is filled in is never read


def _part(name: str) -> str:
    return (files("finetune.page") / name).read_text(encoding="utf-8")


def _policy(style: str, script: str, played: Played) -> str:
    """What the page may do: run its own script and style, and play its own video."""
    media = {"embedded": "media-src data: blob:", "linked": "media-src file:", "none": "media-src 'none'"}[played.kind]
    code = f"script-src '{_digest(script)}'; style-src '{_digest(style)}'"
    return f"default-src 'none'; {code}; {media}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _lead(whole: Whole) -> str:
    lanes = [sum(event.modality == lane for event in whole.events) for lane in ("audio", "visual")]
    clips = f"{len(whole.clips):,} clip{'' if len(whole.clips) == 1 else 's'}"
    events = " and ".join(
        f"{count:,} event{'' if count == 1 else 's'} {TITLES[name]}"
        for name, count in zip(MODALITIES, lanes, strict=True)
    )
    return f"{round(whole.seconds, 1):g} seconds in {clips}: {events}."


def _warnings(loud: Sequence[str], notes: Sequence[str]) -> str:
    if not loud and not notes:
        return ""
    told = [f'<p class="loud">{escape(each)}</p>' for each in loud] + [f"<p>{escape(each)}</p>" for each in notes]
    kind = "warnings" if loud else "warnings quiet"
    return f'<section class="{kind}" aria-label="To be known first">{"".join(told)}</section>'


def _lacking(whole: Whole) -> Iterable[str]:
    """What is not there, in a sentence a modality."""
    for name, spans in whole.absent.items():
        if name in whole.silent:
            yield f"{NOTHING[name]} in this file: nothing is {TITLES[name]}, and nothing is heard and seen."
        else:
            yield f"{NOTHING[name]} {_times(spans)}: nothing is {TITLES[name]} there."


def _unparsed(whole: Whole) -> Iterable[str]:
    if whole.gaps:
        yield f"Nothing is known {_times(whole.gaps)}: these parts were not asked for, or could not be read."


def _notes(whole: Whole) -> Iterable[str]:
    """What else is to be known; that there is nothing to hear or to see is said already."""
    said = tuple(f"nothing is {TITLES[name]}." for name in whole.silent)
    return (note for note in whole.notes if not note.endswith(said))


def _key(limit: float | None) -> str:
    """How the confidences beside the video are to be read."""
    order = "Categories are in the order of the most that each reaches anywhere in the file."
    if limit is None:
        return order
    return (
        f"The mark on each bar is {limit:g}: from there on a number is bold. What else an event needs stands under "
        f"“How this was made”. {order}"
    )


def _times(spans: Sequence[Span]) -> str:
    told = [f"from {start:g} to {end:g} s" for start, end in spans[:3]]
    return ", ".join(told) + (f" and in {len(spans) - 3} more places" if len(spans) > 3 else "")


def _row(event: Event) -> str:
    cells = [f"{event.onset:g}", f"{event.offset:g}", f"{event.confidence:.2f}"]
    words = [TITLES[event.modality], event.category.replace("_", " ")]
    plain, numbers = (
        "".join(f"<td>{escape(word)}</td>" for word in words),
        "".join(f'<td class="n">{n}</td>' for n in cells),
    )
    return f"<tr>{plain}{numbers}</tr>"


def _data(whole: Whole, made: Made, played: Played) -> dict[str, Any]:
    """What the script draws."""
    return {
        "seconds": whole.seconds,
        "categories": CATEGORIES,
        "limit": made.limit,
        "linked": played.kind == "linked",
        "events": [_event(event) for event in whole.events],
        "truth": None if whole.truth is None else [_event(event) for event in whole.truth],
        "absent": whole.absent,
        "gaps": whole.gaps,
        "clips": [{"start": clip.start, "end": clip.end, "curves": _curves(clip.parse)} for clip in whole.clips],
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "category": CATEGORIES.index(event.category),
        "lane": event.modality,
        "onset": event.onset,
        "offset": event.offset,
        "confidence": round(event.confidence, DIGITS),
    }


def _curves(parse: Mapping[str, Any]) -> dict[str, list[list[float | None]]]:
    """Modality → a row a category, in three decimals: a page of hours stays a few megabytes."""
    curves = parse.get("curves", {})
    return {
        name: [[None if p is None else round(p, 3) for p in curves[name][category]] for category in CATEGORIES]
        for name in MODALITIES
        if name in curves
    }
