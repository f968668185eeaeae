"""What joins snippets into components, and the edges and the test that go with it: one way, or one for each modality.

- closure "joint" (the paper): two snippets are positive when a chain of edges joins them; under match "any" edges are
  the pairs similar in either modality, under "all" the pairs similar in both.
- closure "per_modality": two snippets are positive when audio edges alone join them, or visual edges alone do. A
  snippet has two component ids then, and a video whose sound and picture disagree ties nothing together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from graph.forests.forest import Edges, Forest
from graph.modality import Modality, build_both
from graph.positives.chance import Chance, Unlike, alone, joint
from launch.refusal import Refusal

Match = Literal["any", "all"]
Closure = Literal["joint", "per_modality"]


@dataclass(frozen=True)
class Way:
    """One of the ways in which snippets have a component."""

    name: str
    """"joint", or the modality's."""
    sides: tuple[Modality, ...]
    """The modalities whose edges join; their thresholds are the chosen ones."""
    match: Match
    cut: Edges
    """Forest edges above the thresholds: they hold the components."""
    both: Forest | None
    """Of match "all" the forest that `cut` is of; it holds for these thresholds alone (`graph.modality.build_both`)."""
    unlike: Unlike
    """The test of its pairs."""

    def layers(self) -> list[Edges]:
        """The edges above the thresholds that are known, which are all near ones: the listed and the forest's.

        One layer a modality, or one of pairs similar in both, weighed by the smaller margin over the thresholds.
        """
        if self.match == "all":
            return [Edges.joined([*self._similar_in_all(), self.cut])]
        return [Edges.joined([*_listed(side), _cut(side)]) for side in self.sides]

    def _similar_in_all(self) -> Iterator[Edges]:
        for edges in (listed for side in self.sides for listed in _listed(side)):
            barred = [side.without[edges.first] | side.without[edges.second] for side in self.sides]
            allowed = edges.where(~np.logical_or.reduce(barred))
            margins = [
                side.matrix.pairs(allowed.first, allowed.second) - np.float32(side.threshold) for side in self.sides
            ]
            weight = np.minimum.reduce(margins)
            yield Edges(allowed.first, allowed.second, weight).where(weight > 0)


def ways(sides: Sequence[Modality], chances: Sequence[Chance], match: Match, closure: Closure) -> list[Way]:
    """One way for closure "joint", one a modality for "per_modality"; the sides hold the chosen thresholds.

    Raises Refusal for match "all" with closure "per_modality".
    """
    if match == "all" and closure == "per_modality":
        raise Refusal(
            "Components come of pairs similar in both modalities, or of each modality by itself, but match is 'all' "
            "and closure is 'per_modality': set match to 'any', or closure to 'joint'."
        )
    if closure == "per_modality":
        each = zip(sides, chances, strict=True)
        return [Way(side.name, (side,), match, _cut(side), None, alone(side, chance)) for side, chance in each]
    audio, visual = sides
    both = build_both(audio, visual) if match == "all" else None
    cut = both.cut(0) if both else Edges.joined([_cut(side) for side in sides])
    return [Way("joint", tuple(sides), match, cut, both, joint(sides, chances))]


def _cut(side: Modality) -> Edges:
    return side.forest.cut(side.threshold)


def _listed(side: Modality) -> Iterator[Edges]:
    """The modality's listed pairs above its threshold; none where there are no lists (scope "video")."""
    return side.neighbours.edges(side.threshold, side.without) if side.neighbours else iter(())
