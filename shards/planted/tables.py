"""The annotations of a planted corpus: LLP's real tables, a seeded part of them, or tables of its own like them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool

from launch.refusal import Refusal
from shards.labels import SIZES, SPLITS, Span, Tables, spans_of
from shards.planted.dice import Dice
from shards.planted.mixtures import draw_scene
from shards.planted.timelines import Statistics, draw_labels, draw_parses
from shards.planted.world import CLASSES, GENERATOR_VERSION, STRENGTHS

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
Parses = Mapping[str, Bool[np.ndarray, "category second"]]


@dataclass(frozen=True)
class Cast:
    """A video of which everything is decided but its features: who is heard and seen, when, and where."""

    key: str
    parses: Parses
    scene: int | None


def real_tables(tables: Tables, sizes: Mapping[str, int | None], seed: int) -> Tables:
    """The tables with `sizes` videos of each split (None: all), chosen by `seed`; a smaller choice lies in a larger.

    Raises Refusal where more videos are asked for than there are.
    """
    chosen: dict[str, Sequence[str]] = {}
    for split, size in sizes.items():
        keys = tables.keys(split)
        if size is not None and size > len(keys):
            raise Refusal(
                f"A subset must fit its tables, but {size} videos are asked for of split '{split}', which has "
                f"{len(keys)}: lower --{split}, or leave --tables out for tables of any size."
            )
        ranks = {key: Dice(seed, "subset", key).uniform() for key in keys}
        chosen[split] = sorted(keys, key=ranks.__getitem__)[:size]
    return tables.restrict(chosen)


def own_tables(statistics: Statistics, sizes: Mapping[str, int | None], seed: int) -> Tables:
    """Tables in LLP's format with its statistics: `sizes` videos of each split (None: as many as LLP has)."""
    weak: dict[str, dict[str, tuple[int, ...]]] = {}
    for split in SPLITS:
        size = sizes[split]
        dice = [Dice(seed, "labels", split, number) for number in range(SIZES[split] if size is None else size)]
        weak[split] = {draw_key(each): draw_labels(statistics, each) for each in dice}
    annotated = weak["validation"] | weak["test"]
    truths = {key: draw_truth(labels, statistics, key, seed) for key, labels in annotated.items()}
    return Tables(weak, dense(truths, "audio"), dense(truths, "visual"))


def draw_key(dice: Dice) -> str:
    """A video's name as they look: eleven characters, where the ten seconds start, where they end."""
    name = "".join(ALPHABET[dice.below(len(ALPHABET))] for _ in range(11))
    if dice.happens(1 / 2000):  # LLP has a few such, and they are a trap
        seconds, tenth = dice.below(200), dice.below(10)
        return f"{name}_{seconds}.{tenth}_{seconds + 10}.{tenth}"
    start = 10 * dice.below(12)
    return f"{name}_{start}_{start + 10}"


def draw_truth(labels: Sequence[int], statistics: Statistics, key: str, seed: int) -> Parses:
    """What is heard and seen in a video of which only the weak labels are known."""
    audio, visual = draw_parses(statistics, labels, Dice(seed, "truth", key))
    return {"audio": audio, "visual": visual}


def dense(truths: Mapping[str, Parses], modality: str) -> dict[str, tuple[Span, ...]]:
    """A dense table of one modality; a video in which nothing is on has no rows."""
    spans = {key: spans_of(parses[modality]) for key, parses in truths.items()}
    return {key: found for key, found in spans.items() if found}


def cast_split(tables: Tables, split: str, statistics: Statistics, seed: int) -> list[Cast]:
    """The videos of a split in table order: training videos get a truth drawn, the others have the tables' own."""
    keys = tables.keys(split)
    if split == "train":
        truths = [draw_truth(tables.weak[split][key], statistics, key, seed) for key in keys]
    else:
        audio, visual = tables.truth(keys)
        truths = [{"audio": audio[row], "visual": visual[row]} for row in range(len(keys))]
    scenes = [draw_scene(Dice(seed, "scene", key), STRENGTHS.scenes[0]) for key in keys]
    return [Cast(*parts) for parts in zip(keys, truths, scenes, strict=True)]


def cast_unlabelled(seed: int, number: int) -> Cast:
    """Video `number` of an unlabelled corpus; in a scene, the classes at home there appear, most of the time."""
    dice, wide = Dice(seed, "unlabelled", number), _wide()
    key, scene = draw_key(dice), draw_scene(dice, STRENGTHS.scenes[1])
    if scene is None:
        labels = draw_labels(wide, dice)
    else:
        home = draw_labels(wide, Dice("planted world", GENERATOR_VERSION, "home", scene))
        labels = tuple(category for category in home if dice.happens(STRENGTHS.agreement))
    audio, visual = draw_parses(wide, labels, dice)
    return Cast(key, {"audio": audio, "visual": visual}, scene)


@lru_cache
def _wide() -> Statistics:
    return Statistics.frozen().widened(CLASSES)
