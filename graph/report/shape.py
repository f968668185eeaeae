"""The components of one graph in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

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
    videos = len(ids) // SECONDS
    seconds = ids.reshape(videos, SECONDS)
    members = np.unique(ids * videos + np.arange(len(ids)) // SECONDS)
    linked = sizes * (np.bincount(members // videos) > 1)
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
