"""Who is audible and visible, and when: drawn like in LLP's densely annotated validation videos.

The statistics that a corpus without real tables uses are measured once and kept in `llp_statistics.json`:

    python -m shards.planted.timelines ../shared/llp shards/planted/llp_statistics.json

They hold sums over the validation videos only, no video's own annotation.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from shards.labels import Tables
from shards.planted.dice import Dice
from shards.schema import SECONDS

FROZEN = Path(__file__).with_name("llp_statistics.json")
PRIOR = 4.0
"""How many trials the share of all classes counts for, beside a class's own trials."""
Parse = Bool[np.ndarray, "category second"]
Seconds = Bool[np.ndarray, "second"]
Share = tuple[int, int]  # hits, trials


@dataclass(frozen=True)
class Rhythm:
    """When a class is on in one modality: hits and trials, over the videos in which it is on at all."""

    whole: Share  # of the videos: on in all ten seconds; the other shares are of the rest
    first: Share  # of the videos: on in the first second
    enters: Share  # of the seconds off (but the last): on in the next
    stays: Share  # of the seconds on (but the last): on in the next


@dataclass(frozen=True)
class Habits:
    """How a class occurs in the videos whose weak label names it."""

    ways: tuple[int, int, int]  # videos in which it is only heard, only seen, both
    alike_whole: Share  # of the videos in which it is heard in all seconds, and seen: seen in all, too
    alike_part: Share  # of the videos in which it is heard in some seconds, and seen: seen in the same
    audio: Rhythm
    visual: Rhythm


@dataclass(frozen=True)
class Statistics:
    """What timelines and labels are drawn from: one entry a class, in the order of `CATEGORIES`."""

    habits: tuple[Habits, ...]
    labels: tuple[int, ...]  # videos with 0, 1, 2, … categories
    together: tuple[tuple[int, ...], ...]  # videos that name both classes; on the diagonal: that name this one

    @classmethod
    def measure(cls, tables: Tables, split: str = "validation") -> "Statistics":
        """The statistics of a densely annotated split."""
        keys = tables.keys(split)
        weak, (audio, visual) = tables.weak_matrix(keys), tables.truth(keys)
        named = weak.astype(int)
        return cls(
            tuple(_habits(audio[weak[:, c], c], visual[weak[:, c], c]) for c in range(weak.shape[1])),
            tuple(np.bincount(weak.sum(axis=1)).tolist()),
            tuple(map(tuple, (named.T @ named).tolist())),
        )

    @classmethod
    def frozen(cls) -> "Statistics":
        """The statistics of LLP's real validation split, as they were measured."""
        return cls.from_json(json.loads(FROZEN.read_text()))

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Statistics":
        """The inverse of `dataclasses.asdict` and JSON."""
        habits = [{**h, **{m: Rhythm(**_tuples(h[m])) for m in ("audio", "visual")}} for h in value["habits"]]
        return cls(
            tuple(Habits(**_tuples(h)) for h in habits),
            tuple(value["labels"]),
            tuple(map(tuple, value["together"])),
        )

    def widened(self, classes: int) -> "Statistics":
        """The same with more classes: each added one occurs like a labelled one but Speech, later ones more rarely."""
        own = len(self.habits)
        together = np.zeros((classes, classes), dtype=int)
        together[:own, :own] = self.together
        for extra in range(own, classes):
            together[extra, extra] = max(4, 60 * 4 // (extra - own + 4))
            together[extra, 0] = together[0, extra] = together[extra, extra] // 2
        habits = tuple(self.habits[c if c < own else 1 + c % (own - 1)] for c in range(classes))
        return Statistics(habits, self.labels, tuple(map(tuple, together.tolist())))


def draw_labels(statistics: Statistics, dice: Dice) -> tuple[int, ...]:
    """The categories of a video, ascending: how many, which first, and which others beside those drawn so far."""
    count, together = dice.pick(statistics.labels), statistics.together
    chosen = [dice.pick([row[category] for category, row in enumerate(together)])]
    while len(chosen) < count:
        beside = [min(counts) + 0.1 for counts in zip(*(together[category] for category in chosen), strict=True)]
        chosen.append(dice.pick([0 if c in chosen else weight for c, weight in enumerate(beside)]))
    return tuple(sorted(chosen))


def draw_parses(statistics: Statistics, labels: Sequence[int], dice: Dice) -> tuple[Parse, Parse]:
    """What is heard and what is seen in a video with these weak labels; each label in at least one modality."""
    audio = np.zeros((len(statistics.habits), SECONDS), dtype=bool)
    visual = audio.copy()
    for category in labels:
        audio[category], visual[category] = draw_event_seconds(statistics, category, dice)
    return audio, visual


def draw_event_seconds(statistics: Statistics, category: int, dice: Dice) -> tuple[Seconds, Seconds]:
    """The seconds in which a class is heard, and those in which it is seen; not both are empty."""
    habits, every = statistics.habits[category], statistics.habits
    shares = [[(count, sum(h.ways)) for count in h.ways] for h in every]
    ways = [_smooth(shares[category][way], [share[way] for share in shares]) for way in range(3)]
    way = dice.pick(ways)
    silent = np.zeros(SECONDS, dtype=bool)
    audio = silent if way == 1 else draw_seconds(habits.audio, [h.audio for h in every], dice)
    if way == 0:
        return audio, silent
    name = "alike_whole" if audio.all() else "alike_part"
    if way == 2 and dice.happens(_smooth(getattr(habits, name), [getattr(h, name) for h in every])):
        return audio, audio
    while True:
        visual = draw_seconds(habits.visual, [h.visual for h in every], dice)
        if not np.array_equal(audio, visual):
            return audio, visual


def draw_seconds(rhythm: Rhythm, every: Sequence[Rhythm], dice: Dice) -> Seconds:
    """The seconds of a class, at least one: all ten, or a chain of on and off that holds some of both."""
    if dice.happens(_smooth(rhythm.whole, [r.whole for r in every])):
        return np.ones(SECONDS, dtype=bool)
    first = _smooth(rhythm.first, [r.first for r in every])
    enters = _smooth(rhythm.enters, [r.enters for r in every])
    stays = _smooth(rhythm.stays, [r.stays for r in every])
    while True:
        on = [dice.happens(first)]
        while len(on) < SECONDS:
            on.append(dice.happens(stays if on[-1] else enters))
        if any(on) and not all(on):
            return np.array(on)


def _smooth(share: Share, every: Sequence[Share]) -> float:
    """A class's own share of hits, drawn towards that of all classes as if by `PRIOR` more trials."""
    common = (sum(hits for hits, _ in every) + 1) / (sum(trials for _, trials in every) + 2)
    return (share[0] + PRIOR * common) / (share[1] + PRIOR)


def _habits(audio: Bool[np.ndarray, "video second"], visual: Bool[np.ndarray, "video second"]) -> Habits:
    heard, seen = audio.any(axis=1), visual.any(axis=1)
    both = heard & seen
    ways = (int((heard & ~seen).sum()), int((seen & ~heard).sum()), int(both.sum()))
    alike, whole = (audio == visual).all(axis=1), audio.all(axis=1)
    shares = [(int((alike & part).sum()), int(part.sum())) for part in (both & whole, both & ~whole)]
    return Habits(ways, shares[0], shares[1], _rhythm(audio[heard]), _rhythm(visual[seen]))


def _rhythm(on: Bool[np.ndarray, "video second"]) -> Rhythm:
    rest = on[~on.all(axis=1)]
    now, then = rest[:, :-1], rest[:, 1:]
    return Rhythm(
        whole=(len(on) - len(rest), len(on)),
        first=(int(rest[:, 0].sum()), len(rest)),
        enters=(int((~now & then).sum()), int((~now).sum())),
        stays=(int((now & then).sum()), int(now.sum())),
    )


def _tuples(value: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}


if __name__ == "__main__":
    measured = Statistics.measure(Tables.load(Path(sys.argv[1])))
    Path(sys.argv[2]).write_text(json.dumps(asdict(measured)) + "\n")
