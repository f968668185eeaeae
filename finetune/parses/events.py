"""From probabilities to the events of a video: what happens, when, in which modality, and how sure the parser is.

The one way from a batch of features to parses in words, for files (`predict`) and for requests (`finetune.served`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from finetune.network.pooling import Parsed
from finetune.parser import Parser
from finetune.present import present_seconds
from finetune.scoring.decision import Protocol, decide
from finetune.scoring.protocol import thresholds_of
from shards.labels import CATEGORIES, Tables, spans_of
from shards.schema import MODALITIES, seconds_of

LANES = (*MODALITIES, "audio_visual")
"""What an event's modality may be: events heard, events seen, and the seconds in which both is so."""
DIGITS = 4
"""Decimals of a probability where it is written down."""


@dataclass(frozen=True)
class Event:
    """A maximal run of positive seconds of a category, [onset, offset), in seconds from the video's start.

    They are whole seconds in a clip, which is what a parser reads; in a file of many clips they may be fractional.
    """

    category: str
    modality: str
    """One of `LANES`."""
    onset: float
    offset: float
    confidence: float
    """The mean probability over the event's seconds; of an audio-visual one, of the smaller of the two in each."""


@dataclass(frozen=True)
class VideoParse:
    """What a parser hears and sees in one video."""

    key: str
    seconds: int
    """The video's own, by the times in its key: no event ends later."""
    events: tuple[Event, ...]
    """By lane, category and onset. What is heard and seen at once is in all three lanes."""
    probabilities: Mapping[str, Mapping[str, float]]
    """"audio", "visual", "video" → category → probability that it occurs at all."""
    absent: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Modality → the seconds that have nothing of it: no sound, or no picture; a modality with all of them is not
    named."""
    curves: Mapping[str, Mapping[str, Sequence[float | None]]] = field(default_factory=dict)
    """Modality → category → its probability second by second, None where there is nothing; empty unless asked for."""

    def content(self) -> dict[str, Any]:
        """The parse as JSON holds it; what is absent and the curves only where there are any."""
        content = asdict(self) | {"events": [asdict(event) for event in self.events]}
        return {name: value for name, value in content.items() if value or name not in ("absent", "curves")}


def parse_videos(
    parser: Parser,
    keys: Sequence[str],
    features: Mapping[str, Float[Tensor, "video second _"]],
    protocol: Protocol,
    present: Bool[np.ndarray, "modality video second"] | None = None,
    curves: bool = False,
) -> list[VideoParse]:
    """The parse of each video; `features` are float32 on the parser's device, padded to ten seconds.

    `present` says which seconds have audio and which a picture (None: all have both): nothing is heard where there is
    no sound, and nothing seen where there is no picture. `curves`: with the probability of every second.
    """
    device = next(iter(features.values())).device
    with torch.inference_mode():
        parsed = parser(features, present_seconds(keys, device, present))
        decided = decide(parsed, protocol, thresholds_of(parser, protocol)).cpu().numpy().astype(np.bool_)
    seconds = parsed.seconds.transpose(2, 3).cpu().numpy()
    whole = {name: value.cpu().numpy() for name, value in _whole(parsed).items()}
    found = list[VideoParse]()
    for row, key in enumerate(keys):
        length = seconds_of(key)
        sure, lacking = seconds[:, row, :, :length], {} if present is None else _absent(present[:, row, :length])
        happens = events_of(decided[:, row, :, :length], sure)
        named = {name: _named(value[row]) for name, value in whole.items()}
        found.append(VideoParse(key, length, happens, named, lacking, _curves(sure, lacking) if curves else {}))
    return found


def events_of(
    decided: Bool[np.ndarray, "modality category second"], probabilities: Float[np.ndarray, "modality category second"]
) -> tuple[Event, ...]:
    """The events of one video's parses, each with its confidence."""
    parses = (*decided, decided.all(axis=0))
    sure = (*probabilities, probabilities.min(axis=0))
    return tuple(
        Event(CATEGORIES[category], lane, onset, offset, _rounded(certainty[category, onset:offset].mean()))
        for lane, parse, certainty in zip(LANES, parses, sure, strict=True)
        for category, onset, offset in spans_of(parse)
    )


def true_events(tables: Tables, key: str) -> tuple[Event, ...] | None:
    """What truly happens in a video; None where nobody annotated it second by second, as in the training split."""
    if not any(key in known for known in (tables.weak["validation"], tables.weak["test"], tables.audio, tables.visual)):
        return None
    truth = np.concatenate(tables.truth([key]))
    return events_of(truth, truth.astype(np.float32))


def in_lane(events: Iterable[Event], lane: str) -> tuple[Event, ...]:
    """Those of the events that are in one of `LANES`."""
    return tuple(event for event in events if event.modality == lane)


def _whole(parsed: Parsed) -> dict[str, Float[Tensor, "video category"]]:
    return {"audio": parsed.audio, "visual": parsed.visual, "video": parsed.video}


def _absent(present: Bool[np.ndarray, "modality second"]) -> dict[str, list[int]]:
    each = {name: np.flatnonzero(~there).tolist() for name, there in zip(MODALITIES, present, strict=True)}
    return {name: seconds for name, seconds in each.items() if seconds}


def _curves(
    sure: Float[np.ndarray, "modality category second"], absent: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, list[float | None]]]:
    return {
        name: {
            category: [None if second in absent.get(name, ()) else _rounded(p) for second, p in enumerate(row)]
            for category, row in zip(CATEGORIES, of, strict=True)
        }
        for name, of in zip(MODALITIES, sure, strict=True)
    }


def _named(values: Float[np.ndarray, " category"]) -> dict[str, float]:
    return {category: _rounded(value) for category, value in zip(CATEGORIES, values, strict=True)}


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
