"""A whole file out of its clips: what happens in ten seconds and goes on in the next ten is one event."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from finetune.parses.events import DIGITS, LANES, Event
from shards.labels import CATEGORIES
from shards.schema import MODALITIES

NEAR = 2e-3
"""Seconds by which two clips may miss each other and still touch: their times are rounded to milliseconds."""
LEAST_GAP = 1.0
"""Seconds of a gap that is told; shorter is a tail that makes no clip."""
Span = tuple[float, float]
"""[start, end) in seconds of a file."""


@dataclass(frozen=True)
class ParsedClip:
    """One clip of a file, and its parse."""

    key: str
    start: float
    end: float
    """[start, end) in seconds of the file."""
    parse: Mapping[str, Any]
    """What `predict` wrote of it: events, probabilities and curves in seconds of the clip."""
    truth: Sequence[Event] | None = None
    """What truly happens, in seconds of the clip; None where nobody knows."""
    notes: tuple[str, ...] = ()
    """What a user should know of it, a sentence each."""


@dataclass(frozen=True)
class Whole:
    """What a parser hears and sees in one file."""

    name: str
    """Its id, which is the name of the file without suffix."""
    file: str
    """Where it is."""
    seconds: float
    clips: tuple[ParsedClip, ...]
    """In order of time."""

    @property
    def events(self) -> tuple[Event, ...]:
        """By lane, category and onset, in seconds of the file."""
        return stitched(event for clip in self.clips for event in _of_file(clip, _read(clip.parse["events"])))

    @property
    def truth(self) -> tuple[Event, ...] | None:
        """What truly happens in those clips of which it is known; None where it is known of none."""
        known = [clip for clip in self.clips if clip.truth is not None]
        return stitched(event for clip in known for event in _of_file(clip, clip.truth or ())) if known else None

    @property
    def absent(self) -> dict[str, tuple[Span, ...]]:
        """Modality → where nothing of it is, in seconds of the file; no modality that is there throughout."""
        spans = {name: _joined(_absent(clip, name) for clip in self.clips) for name in MODALITIES}
        return {name: found for name, found in spans.items() if found}

    @property
    def silent(self) -> tuple[str, ...]:
        """The modalities that no clip has at all: a file without sound, or without a picture."""
        return tuple(
            name
            for name in MODALITIES
            if all(len(clip.parse.get("absent", {}).get(name, ())) == clip.parse["seconds"] for clip in self.clips)
        )

    @property
    def gaps(self) -> tuple[Span, ...]:
        """Where the file was not parsed: between parts that were asked for, and where a clip was no use."""
        parsed = _joined([sorted((clip.start, clip.end) for clip in self.clips)])
        edges = [0.0, *(edge for span in parsed for edge in span), self.seconds]
        spans = zip(edges[::2], edges[1::2], strict=True)
        return tuple((round(start, 3), round(end, 3)) for start, end in spans if end - start >= LEAST_GAP)

    @property
    def blank(self) -> dict[str, tuple[Span, ...]]:
        """Lane → where nothing of it can be known: there is no sound, no picture, or the part was not parsed."""
        lacking = {name: [*self.absent.get(name, ()), *self.gaps] for name in MODALITIES}
        lacking[LANES[-1]] = [span for spans in lacking.values() for span in spans]
        return {lane: _joined([sorted(spans)]) for lane, spans in lacking.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it, each sentence once."""
        return tuple(dict.fromkeys(note for clip in self.clips for note in clip.notes))

    def content(self) -> dict[str, Any]:
        """As JSON holds it; without the curves, which the clips' own parses tell."""
        clips = [
            {"key": clip.key, "start": clip.start, "end": clip.end, "probabilities": clip.parse["probabilities"]}
            for clip in self.clips
        ]
        truth = {} if self.truth is None else {"truth": [asdict(event) for event in self.truth]}
        return {
            "name": self.name,
            "file": self.file,
            "seconds": self.seconds,
            "events": [asdict(event) for event in self.events],
            **truth,
            "absent": {name: [list(span) for span in spans] for name, spans in self.absent.items()},
            "not_parsed": [list(span) for span in self.gaps],
            "notes": list(self.notes),
            "clips": clips,
        }


def stitched(events: Iterable[Event]) -> tuple[Event, ...]:
    """The events with those that touch or overlap, and agree in category and lane, joined into one.

    Its confidence is the mean over its parts, each weighed by its length. By lane, category and onset.
    """
    ordered = sorted(events, key=lambda each: (LANES.index(each.modality), CATEGORIES.index(each.category), each.onset))
    found = list[Event]()
    for (lane, category), same in groupby(ordered, key=lambda each: (each.modality, each.category)):
        run = list[Event]()
        for event in same:
            if run and event.onset > max(part.offset for part in run) + NEAR:
                found.append(_one(category, lane, run))
                run = []
            run.append(event)
        found.append(_one(category, lane, run))
    return tuple(found)


def _one(category: str, lane: str, parts: Sequence[Event]) -> Event:
    if len(parts) == 1:
        return parts[0]
    lengths = [part.offset - part.onset for part in parts]
    mean = sum(part.confidence * length for part, length in zip(parts, lengths, strict=True)) / sum(lengths)
    return Event(category, lane, parts[0].onset, max(part.offset for part in parts), round(mean, DIGITS))


def _read(events: Iterable[Mapping[str, Any]]) -> list[Event]:
    return [Event(**event) for event in events]


def _of_file(clip: ParsedClip, events: Iterable[Event]) -> list[Event]:
    """A clip's events at their times in the file; its last second may be shorter than a second."""
    return [
        Event(
            event.category,
            event.modality,
            round(clip.start + event.onset, 3),
            round(min(clip.start + event.offset, clip.end), 3),
            event.confidence,
        )
        for event in events
        if clip.start + event.onset < clip.end
    ]


def _absent(clip: ParsedClip, modality: str) -> list[Span]:
    begun = (clip.start + second for second in clip.parse.get("absent", {}).get(modality, ()))
    return [(start, min(start + 1, clip.end)) for start in begun if start < clip.end]


def _joined(spans: Iterable[Iterable[Span]]) -> tuple[Span, ...]:
    """Spans in order of time with those that touch joined into one."""
    found = list[Span]()
    for start, end in (span for several in spans for span in several):
        if found and start <= found[-1][1] + NEAR:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple((round(start, 3), round(end, 3)) for start, end in found)
