"""make bench-graph

Both forests of 290,000 planted snippets, exact, beside the price of the plain products that they stand for; beside
faiss, an approximate build, brute force, and a pipeline of stock parts. About forty minutes on two cores; the last line
is JSON:

- `seconds`, `seconds_fast`, `seconds_faiss`: both modalities, lists, forests and repair, with the engine `auto`, an
  approximate one, and faiss; `peak_mib`: anonymous memory of the process at its highest during the first.
- `limit_seconds`: the float32 products of half the pair matrix, both widths, at the rate of 4096-row blocks measured
  right before and after the exact build.
- `missed_merges_fast`: how many components fewer the approximate forests would leave at the automatic thresholds if
  they had the exact ones' edges too, both modalities added up; `agreement_fast`: adjusted Rand index there, the worst
  of audio, visual and joint.
- `agreement`: adjusted Rand index of the graph of every pair and ours on a subset, the worst of audio, visual and joint
  at ten thresholds that lie 1e-5 from every edge that changes components; hubs are left out, and are the same.
- `sweep_seconds`: the report's grid of 50 × 50 thresholds.
- `naive_ratio`: seconds of scikit-learn's radius neighbours and networkx over ours, same subset, thresholds and result.

`--unprojected` instead compares 2048 visual numbers with their projection to 512.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from sklearn.metrics import rand_score

from graph.corpus import HubSettings, build_corpus
from graph.forests.forest import components
from graph.modality import Modality
from graph.positives.chance import Chance, joint
from graph.positives.thresholds import ThresholdSettings, choose
from graph.report.sweep import grid
from graph.rows.matrix import Matrix, open_matrix
from graph.search.search import SearchSettings
from launch.progress import say
from shards.schema import MODALITIES, SECONDS
from tests.bench.oracles_graph import (
    Everything,
    agreement,
    clear_thresholds,
    labels,
    products_per_second,
    stock_components,
    subset,
)
from tests.bench.planted_graph import MANIFEST, planted

FLOOR, SEED = 0.8, 0
STEPS = 54
"""Levels asked for, of which a few fall together: at least 50 are left."""


def plant(folder: Path, snippets: int, width: int = 512) -> list[Matrix]:
    """The planted rows of both modalities, made by another process so that its memory is not counted here."""
    folder.mkdir()
    process = get_context("spawn").Process(target=planted, args=(folder, snippets // SECONDS, SEED, width))
    process.start()
    process.join()
    return [open_matrix(folder / f"{name}.matrix", MANIFEST) for name in MODALITIES]


def build(
    matrices: Sequence[Matrix], engine: str, floors: Sequence[float] = (FLOOR, FLOOR), exclude_hubs: bool = True
) -> tuple[list[Modality], float]:
    """Both modalities down to the floors, and the seconds that took."""
    search, hubs, start = SearchSettings(engine=engine), HubSettings(exclude=exclude_hubs), time.perf_counter()
    parts = zip(MODALITIES, matrices, floors, strict=True)
    sides = [build_corpus(name, rows, floor, search, hubs) for name, rows, floor in parts]
    seconds = time.perf_counter() - start
    say(f"{engine}: both forests of {len(matrices[0]):,} snippets in {seconds:.1f} s.")
    return sides, seconds


def limit(matrices: Sequence[Matrix]) -> float:
    """Seconds of the float32 products of half the pair matrix, all modalities, as this processor multiplies now."""
    rates = {matrix.width: products_per_second(matrix.width) for matrix in matrices}
    say("Float32 products: " + ", ".join(f"{rate / 1e9:.0f} GFLOP/s at width {width}" for width, rate in rates.items()))
    return sum(len(matrix) ** 2 * matrix.width / rates[matrix.width] for matrix in matrices)


@contextmanager
def memory() -> Iterator[list[float]]:
    """A list that holds, at the end, the most anonymous memory this process had (MiB); mapped rows are not in it."""
    samples, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            samples[0] = max(samples[0], int(fields["RssAnon"].split()[0]) / 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        stop.set()
        watcher.join()


def automatic(sides: Sequence[Modality]) -> list[Modality]:
    """The modalities at the thresholds that are chosen without labels."""
    settings = ThresholdSettings()
    chosen = []
    for side in sides:
        choice = choose(side, Chance.drawn(side, settings.pairs, SEED), settings, SEED)
        say(choice.reason)
        chosen.append(replace(side, threshold=choice.threshold))
    return chosen


def found(sides: Sequence[Modality], thresholds: Sequence[float]) -> list[np.ndarray]:
    """The components of audio, visual, and both joined."""
    cuts = [side.forest.cut(threshold) for side, threshold in zip(sides, thresholds, strict=True)]
    return [components(len(sides[0].matrix), some) for some in (*([cut] for cut in cuts), cuts)]


def worst(ones: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """The worst agreement of several labellings."""
    return min(agreement(one, other) for one, other in zip(ones, others, strict=True))


def fast(sides: Sequence[Modality], quick: Sequence[Modality]) -> dict[str, float]:
    """An approximate build against the exact one at the exact one's thresholds."""
    thresholds = [side.threshold for side in sides]
    exact, near = found(sides, thresholds), found(quick, thresholds)
    missed = 0
    for side, rough in zip(sides, quick, strict=True):
        cuts = [each.forest.cut(side.threshold) for each in (rough, side)]
        alone, together = components(len(side.matrix), cuts[:1]), components(len(side.matrix), cuts)
        missed += int(alone.max()) - int(together.max())
    each = [agreement(one, two) for one, two in zip(exact, near, strict=True)]
    say(f"Approximate against exact: {missed:,} merges missed, agreement {each} (audio, visual, joint).")
    return {"missed_merges_fast": missed, "agreement_fast": min(each)}


def brute(matrices: Sequence[Matrix]) -> float:
    """The worst agreement with the graph of every pair, at ten thresholds of audio, visual and joint."""
    sides, _ = build(matrices, "auto")
    graphs = [Everything.above(side.matrix, FLOOR).less_hubs(side, HubSettings().similarity) for side in sides]
    agreements = []
    for thresholds in clear_thresholds(graphs, sides, 10):
        cuts = [graph.cut(threshold) for graph, threshold in zip(graphs, thresholds, strict=True)]
        every = [labels(len(matrices[0]), some) for some in (*([cut] for cut in cuts), cuts)]
        agreements.append(worst(every, found(sides, thresholds)))
        say(f"Against {sum(cut.shape[1] for cut in cuts):,} edges at {thresholds}: {agreements[-1]}.")
    assert len(agreements) == 10, "too few thresholds lie apart from all edges"
    return min(agreements)


def naive(matrices: Sequence[Matrix], thresholds: Sequence[float]) -> float:
    """Seconds of stock parts over ours for the same components."""
    start = time.perf_counter()
    stock = stock_components(matrices, thresholds)
    middle = time.perf_counter()
    ours = found(build(matrices, "auto", thresholds, exclude_hubs=False)[0], thresholds)[-1]
    end = time.perf_counter()
    say(f"Stock parts {middle - start:.1f} s, ours {end - middle:.1f} s, agreement {agreement(stock, ours):.6f}.")
    return (middle - start) / (end - middle)


def sweep(sides: Sequence[Modality]) -> float:
    """Seconds of the grid of 50 × 50 thresholds, π0 and all."""
    chances = [Chance.drawn(side, ThresholdSettings().pairs, SEED) for side in sides]
    start = time.perf_counter()
    cells = grid(*sides, joint(sides, chances), SEED, STEPS)
    say(f"Grid of {len(cells.audio)} × {len(cells.visual)} thresholds.")
    return time.perf_counter() - start


def unprojected(folder: Path, snippets: int) -> dict[str, float]:
    """The visual components of 2048 numbers against those of their projection, at the latter's automatic threshold."""
    sides = []
    for width in (512, 2048):
        start = time.perf_counter()
        matrix = plant(folder / str(width), snippets, width)[1]
        sides.append(build_corpus("visual", matrix, FLOOR, SearchSettings(), HubSettings()))
        say(f"{width} numbers: {time.perf_counter() - start:.1f} s, planting included.")
    result: dict[str, float] = {"snippets": snippets, "threshold": automatic(sides[:1])[0].threshold}
    for threshold in (result["threshold"], 0.85, 0.9, 0.95):
        pair = [components(snippets, [side.forest.cut(threshold)]) for side in sides]
        result |= {f"rand_{threshold:.3f}": float(rand_score(*pair)), f"adjusted_{threshold:.3f}": agreement(*pair)}
    return result


def measure(folder: Path, asked: argparse.Namespace) -> dict[str, float]:
    """All of it; what is left out by the options is null."""
    matrices = plant(folder / "corpus", asked.snippets)
    before = limit(matrices)
    with memory() as peak:
        sides, seconds = build(matrices, "auto")
    result = {"snippets": asked.snippets, "seconds": seconds, "limit_seconds": (before + limit(matrices)) / 2}
    sides = automatic(sides)
    quick, result["seconds_fast"] = build(matrices, asked.fast)
    result |= fast(sides, quick)
    result["seconds_faiss"] = None if asked.without_faiss else build(matrices, "faiss")[1]
    result["peak_mib"] = peak[0]
    result["agreement"] = brute([subset(matrix, asked.subset) for matrix in matrices])
    result["sweep_seconds"] = sweep(sides)
    small = [subset(matrix, asked.naive) for matrix in matrices]
    result["naive_ratio"] = naive(small, [side.threshold for side in sides])
    return result


def main(words: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snippets", type=int, default=290_000, help="a multiple of ten")
    parser.add_argument("--subset", type=int, default=40_000, help="snippets of which every pair is compared")
    parser.add_argument("--naive", type=int, default=20_000, help="snippets for the pipeline of stock parts")
    parser.add_argument("--fast", default="ivf", choices=["ivf", "hnsw"], help="the approximate engine")
    parser.add_argument("--without-faiss", action="store_true", help="leave the exact faiss build out")
    parser.add_argument("--unprojected", action="store_true", help="only compare 2048 visual numbers with 512")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        result = unprojected(Path(name), asked.subset) if asked.unprojected else measure(Path(name), asked)
    print(json.dumps({name: round(value, 4) if isinstance(value, float) else value for name, value in result.items()}))


if __name__ == "__main__":
    main()
