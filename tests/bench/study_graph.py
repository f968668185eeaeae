"""make study-graph

What each way of making positives does to a planted corpus whose truth is known: the rule of the paper with silence and
black frames, without them, refined, and a component per modality. Thresholds are the automatic ones, which see no
truth; every row uses the same two. Prints a table in Markdown, then one JSON object.

- *largest*: share of all snippets in the largest component (of either modality, where there are two).
- *wrong*: of the positive pairs of snippets of two videos, the share that neither sound nor look of the same content
  (counted over every pair, see `truth_graph`); silence and black are no content.
- *linked*: share of snippets that have a positive in another video.
- *found*: of all pairs of two videos that share a content, the share that is positive.
- *π0*: what the graph itself estimates of *wrong*, without the truth, the worse of two modalities.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from graph.forests.forest import Edges, components
from graph.modality import Modality
from graph.positives.chance import Estimate
from graph.positives.decide import decide
from graph.positives.thresholds import ThresholdSettings
from graph.rows.matrix import BLOCK
from launch.progress import say, track
from tests.bench.bench_graph import SEED, build, plant
from tests.bench.planted_graph import Truth
from tests.bench.truth_graph import Verdict, verdict


@dataclass(frozen=True)
class Row:
    """One way of making positives, against the truth."""

    name: str
    verdict: Verdict
    pi0: Sequence[Estimate]

    def markdown(self) -> str:
        """The row of the table."""
        shares = [self.verdict.largest, self.verdict.wrong, self.verdict.linked, self.verdict.found]
        pi0 = f"{max(each.value for each in self.pi0):.3f}" if self.pi0 else ""
        return f"| {self.name} | {' | '.join(f'{share:.1%}' for share in shares)} | {pi0} |"


HEAD = "| positives | largest | wrong | linked | found | π0 |\n|---|---|---|---|---|---|"
WAYS = {
    "literal rule, hubs excluded": ("joint", "none"),
    "the same, refined": ("joint", "propagation"),
    "per modality": ("per_modality", "none"),
    "per modality, refined": ("per_modality", "propagation"),
}


def study(sides: Sequence[Modality], truth: Truth) -> tuple[list[Row], dict[str, float]]:
    """Every row, and the thresholds they were made at."""
    thresholds: Mapping[str, float | None] = dict.fromkeys((side.name for side in sides), None)
    outcome = decide(sides, thresholds, "any", "joint", "none", ThresholdSettings(), SEED)
    chosen = {side.name: side.threshold for side in outcome.sides}
    for choice in outcome.choices.values():
        say(choice.reason if choice else "given")
    rows = [Row(f"{side.name} alone", _alone(side, truth), []) for side in outcome.sides]
    literal = decide(
        [with_hubs(side) for side in outcome.sides], chosen, "any", "joint", "none", ThresholdSettings(), SEED
    )
    rows.append(Row("literal rule, hubs and all", verdict(literal.ids, truth), literal.pi0))
    for name, (closure, refine) in WAYS.items():
        found = decide(sides, chosen, "any", closure, refine, ThresholdSettings(), SEED)
        rows.append(Row(name, verdict(found.ids, truth), found.pi0))
        say(rows[-1].markdown())
    return rows, chosen


def with_hubs(side: Modality, rows: int = 512) -> Modality:
    """The modality with the edges that exclusion took from its hubs, from its threshold up; each against all."""
    forest, everyone = side.forest, np.flatnonzero(~side.matrix.zero).astype(np.int32)
    hubs = np.flatnonzero(side.without & ~side.matrix.zero).astype(np.int32)
    blocks = [hubs[start : start + rows] for start in range(0, len(hubs), rows)]
    for some in track(blocks, f"{side.name} hubs", unit=f"× {rows} hubs"):
        found = []
        for others in np.array_split(everyone, max(1, len(everyone) // BLOCK)):
            similarity = side.matrix.tile(some, others)
            row, column = np.nonzero(similarity > np.float32(side.threshold))
            found.append(Edges(some[row], others[column], similarity[row, column]))
        forest = forest.merge(Edges.joined(found))
    return replace(side, forest=forest, without=side.matrix.zero)


def _alone(side: Modality, truth: Truth) -> Verdict:
    return verdict(components(len(side.matrix), [side.forest.cut(side.threshold)])[:, None], truth)


def main(words: Sequence[str] | None = None) -> None:
    """Plants, builds, decides and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snippets", type=int, default=290_000, help="a multiple of ten")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        matrices = plant(Path(name) / "corpus", asked.snippets)
        truth = Truth(**dict(np.load(Path(name) / "corpus" / "truth.npz")))
        rows, thresholds = study(build(matrices, "auto")[0], truth)
    print("\n".join([HEAD, *(row.markdown() for row in rows)]))
    facts = {row.name: asdict(row.verdict) | {"pi0": [each.value for each in row.pi0]} for row in rows}
    print(json.dumps({"snippets": asked.snippets, "thresholds": thresholds, "rows": facts}))


if __name__ == "__main__":
    main()
