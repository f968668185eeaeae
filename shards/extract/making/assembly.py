"""Clips on their way into shards: those of a shard wait until all of it are there, then it is written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from launch.atomic import Unfinished, whole_file
from launch.refusal import Refusal
from shards.extract.decoding import Decoded
from shards.extract.making.failures import Failure, OnBad
from shards.extract.making.plan import Plan
from shards.extract.networks import FeatureNetwork
from shards.finished import Bad, Bench, Done
from shards.schema import MODALITIES, PRESENT, SECONDS, Feature, Video
from shards.write import ShardWriter

THERE = Feature(PRESENT, len(MODALITIES), "", "1 where a second of the file has audio, and where it has a picture")
SET = ""
"""There is one set, so it has no name."""


@dataclass(frozen=True)
class Encoded:
    """A clip's features, and what its decoder said of it."""

    video: Video
    notes: tuple[str, ...]


@dataclass
class Told:
    """What is known of clips beside their features."""

    failures: list[Failure] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Key → what its decoder said, a sentence each."""


def encode(decoded: Decoded, networks: Sequence[FeatureNetwork]) -> Encoded:
    """The features of a clip, by one network after the other, alone: so they depend on nothing else."""
    features = {network.feature.name: _padded(network.rows(decoded)) for network in networks}
    features[PRESENT] = _padded(decoded.present.T.astype(np.float32))
    return Encoded(Video(decoded.clip.key, features), decoded.notes)


def _padded(rows: Float[np.ndarray, "second width"]) -> Float[np.ndarray, "ten width"]:
    padded = np.zeros((SECONDS, rows.shape[1]), np.float32)
    padded[: len(rows)] = rows
    return padded


class Assembly:
    """The shards of a plan in the making.

    Tasks come back in any order, but each is of one shard, so few shards are incomplete at a time: about one more than
    there are decoders, whatever the number of clips.
    """

    def __init__(self, plan: Plan, features: Sequence[Feature], place: Unfinished, on_bad: OnBad) -> None:
        self._plan, self._place, self._on_bad = plan, place, on_bad
        self._bench = Bench(place, {each.name: each for each in (*features, THERE)}, on_bad)
        self._waiting: dict[int, dict[int, Encoded | Failure]] = {}

    def found(self, number: int) -> Done | None:
        """The shard as an earlier start made it of the same clips, if one did."""
        done = self._bench.found(SET, number, self._plan.digest(number))
        return done if done and self._told(number) else None

    def take(self, number: int, place: int, outcome: Encoded | Failure) -> Done | None:
        """The shard, where this clip of it was the last that it waited for."""
        waiting = self._waiting.setdefault(number, {})
        waiting[place] = outcome
        if len(waiting) < len(self._plan.of_shard(number)):
            return None
        outcomes = [outcome for _, outcome in sorted(self._waiting.pop(number).items())]
        return self._bench.made(SET, number, self._plan.digest(number), partial(self._fill, number, outcomes))

    def told(self) -> Told:
        """Of all shards, once they are made, in the order of the plan."""
        every = Told()
        for number in range(self._plan.shards):
            told = self._told(number)
            assert told, "written before the shard was noted"
            every.failures += told.failures
            every.notes |= told.notes
        return every

    def _fill(self, number: int, outcomes: Sequence[Encoded | Failure], writer: ShardWriter) -> Bad:
        told, bad = Told(), list[tuple[str, str]]()
        for planned, outcome in zip(self._plan.of_shard(number), outcomes, strict=True):
            failure = outcome if isinstance(outcome, Failure) else None
            if isinstance(outcome, Encoded):
                try:
                    writer.add(outcome.video)
                except Refusal as fault:  # numbers that are not finite, or not as float16
                    if self._on_bad == "stop":
                        raise
                    failure = Failure(planned.of.file.name, planned.clip.start, str(fault))
                else:
                    told.notes[planned.clip.key] = list(outcome.notes)
            if failure:
                told.failures.append(failure)
                bad.append((planned.clip.key, failure.reason))
        with whole_file(self._beside(number)) as temporary:
            temporary.write_text(json.dumps(_as_json(self._plan.digest(number), told)))
        return bad

    def _told(self, number: int) -> Told | None:
        """What was told when the shard was made of the same clips; None where that is not there."""
        try:
            found = json.loads(self._beside(number).read_text())
            failures = [Failure(*each) for each in found["failures"]]
            return Told(failures, found["notes"]) if found["digest"] == self._plan.digest(number) else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _beside(self, number: int) -> Path:
        return self._place.notes / f"{number:06d}.told"


def _as_json(digest: str, told: Told) -> dict[str, Any]:
    failures = [[each.file, each.second, each.reason] for each in told.failures]
    return {"digest": digest, "failures": failures, "notes": told.notes}
