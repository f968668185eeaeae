"""The components of one graph in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int32

from shards.schema import SECONDS


@dataclass(frozen=True)
class Shape:
    """The components of one graph, in numbers."""

    components: int
    singletons: int
    largest_share: float
    """Share of all snippets that are in the largest component."""
    second_share: float
    chained_share: float
    """Share of all snippets that are in the largest component of several videos; 0 where none spans two."""
    linked_share: float
    """Share of snippets whose component holds a snippet of another video."""
    positive_chance: float
    """Chance that a random pair of snippets of two different videos is positive."""
    adjacent_recall: float
    """Share of the pairs of a second and the next one in a video that are in one component."""

    @classmethod
    def of(
        cls,
        snippets: int,
        components: int,
        singletons: int,
        largest: tuple[int, int],
        chained: int,
        linked: int,
        same: int,
        within: Sequence[int],
    ) -> "Shape":
        """The shares, from counts of snippets.

        `largest` are the two largest components, `chained` the largest one of several videos, `linked` the snippets of
        all such; `same` counts ordered pairs in one component (a snippet with itself included), and `within` those
        pairs in one video, by the seconds between them, 1 to 9, each pair once.
        """
        videos = snippets // SECONDS
        pairs = snippets**2 - videos * SECONDS**2
        apart = same - snippets - 2 * sum(within)
        return cls(
            components=components,
            singletons=singletons,
            largest_share=largest[0] / snippets,
            second_share=largest[1] / snippets,
            chained_share=chained / snippets,
            linked_share=linked / snippets,
            positive_chance=apart / pairs if pairs else 0.0,
            adjacent_recall=within[0] / (videos * (SECONDS - 1)),
        )


def shape(ids: Int[np.ndarray, " snippet"]) -> Shape:
    """The numbers of a labelling, ids 0, 1, 2, … without gaps; snippet `n` is second `n % 10` of video `n // 10`."""
    sizes = np.bincount(ids)
    low, high = ends(ids)
    linked, seconds = sizes * (low != high), ids.reshape(-1, SECONDS)
    largest = [*np.sort(sizes)[::-1][:2].tolist(), 0]
    return Shape.of(
        snippets=len(ids),
        components=len(sizes),
        singletons=int((sizes == 1).sum()),
        largest=(largest[0], largest[1]),
        chained=int(linked.max()),
        linked=int(linked.sum()),
        same=int((sizes**2).sum()),
        within=[int((seconds[:, gap:] == seconds[:, :-gap]).sum()) for gap in range(1, SECONDS)],
    )


def ends(ids: Int[np.ndarray, " snippet"]) -> tuple[Int32[np.ndarray, " label"], Int32[np.ndarray, " label"]]:
    """The first and the last video of each component, ids 0, 1, 2, … without gaps."""
    videos = np.arange(len(ids), dtype=np.int32) // SECONDS
    low, high = np.full(ids.max() + 1, len(ids), np.int32), np.zeros(ids.max() + 1, np.int32)
    np.minimum.at(low, ids, videos)
    np.maximum.at(high, ids, videos)
    return low, high


@dataclass(frozen=True)
class Reach:
    """What is positive in all, when two snippets are positive that share a component in any of the ways."""

    linked_share: float
    """Share of snippets that have a positive in another video."""
    positive_chance: float
    """Chance that a random pair of snippets of two different videos is positive."""
    adjacent_recall: float
    """Share of the pairs of a second and the next one in a video that are positive."""


def reach(ids: Int[np.ndarray, "snippet way"]) -> Reach:
    """The reach of labellings by one way or two: those of two add up, less what both have."""
    shapes = [shape(way) for way in ids.T]
    if len(shapes) == 1:
        return Reach(shapes[0].linked_share, shapes[0].positive_chance, shapes[0].adjacent_recall)
    both = shape(np.unique(ids[:, 0] * (ids[:, 1].max() + 1) + ids[:, 1], return_inverse=True)[1])
    return Reach(
        linked_share=float(np.logical_or.reduce([_linked(way) for way in ids.T]).mean()),
        positive_chance=sum(each.positive_chance for each in shapes) - both.positive_chance,
        adjacent_recall=sum(each.adjacent_recall for each in shapes) - both.adjacent_recall,
    )


def _linked(ids: Int[np.ndarray, " snippet"]) -> Bool[np.ndarray, " snippet"]:
    """Which snippets' components span several videos."""
    low, high = ends(ids)
    return (low != high)[ids]
