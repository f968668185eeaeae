"""What each second of a planted video is mixed of: its background, the events that are on, and clutter."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from shards.planted.dice import Dice
from shards.planted.world import (
    CLASSES,
    GENERATOR_VERSION,
    MODALITIES,
    OWN,
    PROTOTYPES,
    SCENES,
    STRENGTHS,
    Source,
    class_row,
    relatives,
    scene_row,
)
from shards.schema import SECONDS

Seconds = Bool[np.ndarray, "second"]
Parse = Bool[np.ndarray, "category second"]


def draw_scene(dice: Dice, share: float) -> int | None:
    """The recurring scene a video is in, earlier ones more often; None for a place of its own (1 − share)."""
    return dice.pick([1 / (index + 10) for index in range(SCENES)]) if dice.happens(share) else None


def draw_sources(dice: Dice, parses: Mapping[str, Parse], scene: int | None) -> dict[str, list[Source]]:
    """By modality, the terms of a video's mixture. `parses` say by modality which class is on in which second."""
    low, high = STRENGTHS.background
    level = np.full(SECONDS, low + (high - low) * dice.uniform(), dtype=np.float32)
    place = Source((OWN if scene is None else scene_row(scene),) * SECONDS, level)
    sources = {modality: [place] for modality in MODALITIES}
    for category in np.flatnonzero(parses["audio"].any(axis=1) | parses["visual"].any(axis=1)).tolist():
        prototypes = draw_prototypes(dice, category, scene)
        for modality, prototype in zip(MODALITIES, prototypes, strict=True):
            sources[modality] += draw_event(dice, category, prototype, parses[modality][category])
    for modality, share in zip(MODALITIES, STRENGTHS.clutter, strict=True):
        sources[modality].append(draw_clutter(dice, share))
    return sources


def draw_prototypes(dice: Dice, category: int, scene: int | None) -> tuple[int, int]:
    """How a class sounds and looks in this video (sub-prototypes, earlier ones more often); a scene has its habits."""
    if scene is not None and dice.happens(STRENGTHS.agreement):
        dice = Dice("planted world", GENERATOR_VERSION, "habit", scene, category)
    weights = [1 / (index + 1) for index in range(PROTOTYPES)]
    audible, visible = dice.pick(weights), dice.pick(weights)
    return audible, audible if dice.happens(STRENGTHS.agreement) else visible


def draw_event(dice: Dice, category: int, prototype: int, on: Seconds) -> list[Source]:
    """A class in one modality: its pattern and, where it is blurred, that of a relative, in the seconds it is on."""
    low, high = STRENGTHS.gain
    gain = low + (high - low) * dice.uniform()
    other = relatives(category)[dice.below(len(relatives(category)))]
    blur = dice.uniform() if dice.happens(STRENGTHS.lookalikes) else 0.0
    weights = np.float32(gain) * (1 + np.float32(0.1) * dice.normals(SECONDS)) * on
    likeness = ((category, 1 - blur), (other, blur))
    return [Source((class_row(c, prototype),) * SECONDS, np.float32(share) * weights) for c, share in likeness]


def draw_clutter(dice: Dice, share: float) -> Source:
    """In that share of the seconds, each by itself, some pattern of any class, as strong as an event."""
    rows = tuple(dice.below(CLASSES * PROTOTYPES) for _ in range(SECONDS))
    weights = [0.2 + dice.uniform() if dice.happens(share) else 0.0 for _ in range(SECONDS)]
    return Source(rows, np.array(weights, dtype=np.float32))
