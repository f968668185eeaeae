"""The planted world: what classes and scenes sound and look like, and the features of a video of which that is known.

A second's feature is an offset that all seconds share plus a mixture of *patterns* (random directions): of the events
that are on, of the video's background, of clutter (`mixtures.py` draws it). Patterns of one class have a part in
common, those of one family of classes (strings, engines, …) a smaller one; a class has several sub-prototypes in each
modality. The mixture has constant energy, so a loud event drowns the rest. What comes out is rectified and bent
upwards: non-negative and heavy-tailed, like embeddings after a ReLU.

Everything is drawn from `Dice` and computed with single, correctly rounded operations in a fixed order (no matrix
product, no transcendental function, no long sum), then rounded to float16: the same bits everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float32

from shards.planted.dice import Dice
from shards.schema import SECONDS
from shards.tables import CATEGORIES

GENERATOR_VERSION = 1
"""Stands in every corpus and manifest; a change of any number or draw here or in what uses it raises it."""
CLASSES = len(CATEGORIES) + 75
"""The labelled classes, and those that only unlabelled corpora (and clutter) have."""
PROTOTYPES = 6
"""Sub-prototypes of a class in each modality."""
SCENES = 400
"""Recurring places, each with a sound and a look."""
FRAMES = 8
"""ResNet-152 rows a second."""
OWN = -1
"""In place of a pattern's row: the video's own background, which no other video has."""
MODALITIES = ("audio", "visual")
FAMILIES = (
    ("Cello", "Violin_fiddle", "Accordion", "Banjo", "Acoustic_guitar"),
    ("Car", "Motorcycle", "Helicopter", "Lawn_mower", "Chainsaw"),
    ("Vacuum_cleaner", "Blender", "Frying_(food)", "Telephone_bell_ringing", "Fire_alarm"),
    ("Speech", "Singing", "Cheering", "Clapping", "Basketball_bounce"),
    ("Dog", "Cat", "Chicken_rooster", "Baby_laughter", "Baby_cry_infant_cry"),
)
"""Classes that resemble one another; the unlabelled ones come five to a family."""


@dataclass(frozen=True)
class Strengths:
    """How hard the world is: `clutter`, `lookalikes` and `gain` were calibrated once (docs/log.md); all are frozen."""

    clutter: tuple[float, float] = (0.35, 0.15)
    """Share of the seconds (audio, visual) in which something unrelated is as strong as an event."""
    lookalikes: float = 0.35
    """Share of the events that are blurred towards another class of their family, in each modality by itself."""
    gain: tuple[float, float] = (0.0, 1.0)
    """Weakest and strongest event, in each modality by itself; the weakest drown in the background."""
    background: tuple[float, float] = (0.125, 0.375)
    """Weakest and strongest background; it fills the seconds without events."""
    noise: float = 0.12
    """Standard deviation added to every element of every row."""
    offset: float = 0.5
    """Standard deviation of the part that all seconds share; the mixture's makes it up to one."""
    kinship: float = 0.15
    """Share of a pattern's variance that its family has in common …"""
    unity: float = 0.35
    """… and that its class has in common beyond that."""
    agreement: float = 0.7
    """Share of the events that have the same sub-prototype in both modalities."""
    scenes: tuple[float, float] = (0.3, 0.6)
    """Share of the videos in recurring scenes, in labelled and in unlabelled corpora."""


STRENGTHS = Strengths()


@dataclass(frozen=True)
class Stream:
    """A feature that the world renders: its modality, width, rows a second, and folder in LLP's layout."""

    modality: str
    width: int
    rows: int
    folder: str


STREAMS: Mapping[str, Stream] = {
    "vggish": Stream("audio", 128, 1, "vggish"),
    "resnet152": Stream("visual", 2048, FRAMES, "res152"),
    "r2plus1d_18": Stream("visual", 512, 1, "r2plus1d_18"),
}


@dataclass(frozen=True)
class Source:
    """One term of a video's mixture in one modality: which pattern is on in each second, and how strongly."""

    rows: tuple[int, ...]
    """Of `patterns`, one a second; OWN in all of them for the video's own background."""
    weights: Float32[np.ndarray, "second"]


@lru_cache
def families() -> tuple[tuple[int, ...], ...]:
    """The classes of each family."""
    labelled = [tuple(CATEGORIES.index(name) for name in names) for names in FAMILIES]
    return (*labelled, *(tuple(range(first, first + 5)) for first in range(len(CATEGORIES), CLASSES, 5)))


@lru_cache
def relatives(category: int) -> tuple[int, ...]:
    """The other classes of a class's family."""
    family = next(family for family in families() if category in family)
    return tuple(other for other in family if other != category)


def class_row(category: int, prototype: int) -> int:
    """The row of a sub-prototype in `patterns`."""
    return category * PROTOTYPES + prototype


def scene_row(scene: int) -> int:
    """The row of a scene in `patterns`."""
    return CLASSES * PROTOTYPES + scene


@lru_cache
def patterns(stream: str) -> Float32[np.ndarray, "pattern width"]:
    """Every sub-prototype of every class, then every scene; about unit variance, read-only."""
    width, s = STREAMS[stream].width, STRENGTHS
    shares = [np.float32(share**0.5) for share in (s.kinship, s.unity, 1 - s.kinship - s.unity)]
    found = np.empty((CLASSES * PROTOTYPES + SCENES, width), dtype=np.float32)
    for number, family in enumerate(families()):
        kin = _world("family", stream, number).normals(width)
        for category in family:
            dice = _world("class", stream, category)
            common = shares[0] * kin + shares[1] * dice.normals(width)
            own = shares[2] * dice.normals(PROTOTYPES, width)
            found[class_row(category, 0) : class_row(category + 1, 0)] = common + own
    found[scene_row(0) :] = _world("scenes", stream).normals(SCENES, width)
    found.flags.writeable = False
    return found


@lru_cache
def offset(stream: str) -> Float32[np.ndarray, "width"]:
    """What all seconds of a stream share."""
    return np.float32(STRENGTHS.offset) * _world("offset", stream).normals(STREAMS[stream].width)


def render(
    sources: Sequence[Source], dice: Dice, stream: str, pooled: bool = False
) -> Float32[np.ndarray, "row width"]:
    """A feature of a video, `Stream.rows` rows a second, or one (their mean) if `pooled`; non-negative.

    Every value is a float16's, so shards that store float16 lose nothing. `dice` is the video's for this stream.
    """
    width, rows = STREAMS[stream].width, STREAMS[stream].rows
    own = dice.normals(1, width)
    mixture = np.zeros((SECONDS, width), dtype=np.float32)
    energy = np.full(SECONDS, 1e-6, dtype=np.float32)
    for source in sources:
        mixture += source.weights[:, None] * (own if OWN in source.rows else patterns(stream)[list(source.rows)])
        energy += source.weights * source.weights
    mixture *= (np.float32((1 - STRENGTHS.offset**2) ** 0.5) / np.sqrt(energy))[:, None]
    mixture += offset(stream)
    frames = np.repeat(mixture, rows, axis=0)
    frames += np.float32(STRENGTHS.noise) * dice.normals(*frames.shape)
    np.maximum(frames, 0, out=frames)
    frames += np.float32(0.5) * frames * frames
    frames = _float16(frames)
    return _float16(mean_rows(frames, rows)) if pooled and rows > 1 else frames


def mean_rows(rows: Float32[np.ndarray, "row width"], each: int) -> Float32[np.ndarray, "second width"]:
    """The mean of every `each` rows, added one after the other."""
    parts = rows.reshape(-1, each, rows.shape[1])
    total = parts[:, 0].copy()
    for index in range(1, each):
        total += parts[:, index]
    return total / np.float32(each)


def _float16(values: Float32[np.ndarray, "row width"]) -> Float32[np.ndarray, "row width"]:
    return values.astype(np.float16).astype(np.float32)


def _world(*names: Any) -> Dice:
    """Dice of the world itself: the same for every seed and corpus."""
    return Dice("planted world", GENERATOR_VERSION, *names)
