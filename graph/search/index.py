"""Neighbours by faiss. The only file that imports faiss.

`flat` compares every query with every row, so it is exact, and the oracle of the block engine. On a GPU it searches in
float16 and multiplies the listed pairs again in float32; a list is then complete above its last float16 similarity
plus what float16 errs by. `ivf` and `hnsw` are approximate: they miss neighbours, and nothing says which. An inverted
file tells of all rows that it looked at which are above the floor, however many: lists of k would forget most of them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import packages_distributions
from types import ModuleType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int

from graph.forests.forest import Edges
from graph.rows.matrix import BLOCK, Matrix
from graph.search.best import Best
from graph.search.blocks import SLACK
from launch.refusal import Refusal

Kind = Literal["flat", "ivf", "hnsw"]
MOST_ON_GPU = 2048
"""The longest list that faiss finds on a GPU."""
SPARE = 8
"""Neighbours searched for beyond k on a GPU, so that rounding to float16 seldom costs one of the k."""
HELD = 1 << 20
"""Rows of an exhaustive index at a time: 2 GiB at 512 wide. More rows are searched part by part."""


@dataclass(frozen=True)
class Effort:
    """How hard an approximate index tries."""

    lists: int
    """IVF: cells; 0 takes four times the root of the number of rows."""
    probes: int
    """IVF: cells looked into for a query."""
    links: int
    """HNSW: links of a row."""
    breadth: int
    """HNSW: candidates kept while searching."""


class Index:
    """Searches the chosen snippets of a matrix for the neighbours of some of them; snippets go by their places."""

    def __init__(
        self,
        matrix: Matrix,
        snippets: Int[np.ndarray, " chosen"],
        kind: Kind,
        effort: Effort,
        batch: int,
        all_gpus: bool = True,
    ) -> None:
        self._faiss, self._matrix, self._snippets = load_faiss(), matrix, snippets
        self._kind, self._effort, self._batch = kind, effort, batch
        self._on_gpu = kind == "flat" and gpus() > 0
        self._all_gpus = all_gpus
        self._held: tuple[int, Any] | None = None

    def steps(self, queries: range, since: int = 0) -> list[tuple[range, range]]:
        """What is done one after the other: batches of queries against parts of the rows.

        With `since`, the places before it know each other already: they are only searched for in what is new.
        """
        known = _cut(range(since), HELD if self._kind == "flat" else max(since, 1))
        new = range(since, len(self._snippets))
        parts = _cut(new, HELD if self._kind == "flat" else max(len(new), 1))
        of_new = _cut(range(max(queries.start, since), max(queries.stop, since)), self._batch)
        batches = [(some, rows) for rows in known for some in of_new]
        return batches + [(some, rows) for rows in parts for some in _cut(queries, self._batch)]

    def find(self, step: tuple[range, range], best: Best, most: int) -> Edges:
        """What is found for a batch of queries in a part of the rows: it goes into their lists, and comes back as pairs
        above the floor.

        `most` nearest are looked for; an inverted file gives all above the floor that its probes see.
        """
        queries, rows = step
        unit = self._matrix.unit(self._snippets[queries.start : queries.stop])
        if self._kind == "ivf":
            bounds, similar, near = self._index(rows).range_search(unit, float(best.floor))
            row = np.repeat(np.arange(len(unit)), np.diff(bounds.astype(np.int64)))
        else:
            found, nearest = self._index(rows).search(unit, min(len(rows), most + 1 + (SPARE if self._on_gpu else 0)))
            row, rank = np.nonzero(nearest >= 0)
            similar, near = found[row, rank], nearest[row, rank]
        row, near = row.astype(np.int32) + np.int32(queries.start), near.astype(np.int32) + np.int32(rows.start)
        if self._on_gpu:
            similar = self._matrix.pairs(self._snippets[row], self._snippets[near])
            best.incomplete_below(slice(queries.start, queries.stop), (found[:, -1] + self._error).astype(np.float32))
        pairs = Edges(row, near, np.minimum(similar, 1)).where((row != near) & (similar >= best.floor))
        best.add_to(pairs.first, pairs.second, pairs.similarity)
        return pairs

    @cached_property
    def _error(self) -> float:
        """The most by which a float16 product of unit rows errs: see `blocks`, with float16 for bfloat16."""
        error = 0.0
        for unit in self._units(range(len(self._snippets))):
            error = max(error, float(np.linalg.norm(unit - unit.astype(np.float16).astype(np.float32), axis=1).max()))
        return 2 * error + error**2 + SLACK

    def _index(self, rows: range) -> Any:
        """The index of some rows, built when they are first asked for; only one is held."""
        if self._held is None or self._held[0] != rows.start:
            self._held = None
            self._held = (rows.start, self._built(rows))
        return self._held[1]

    def _built(self, rows: range) -> Any:
        faiss, width = self._faiss, self._matrix.width
        index = faiss.IndexFlatIP(width)
        if self._kind == "ivf":
            cells = self._effort.lists or max(1, round(4 * len(rows) ** 0.5))
            index = faiss.IndexIVFFlat(index, width, min(cells, len(rows)), faiss.METRIC_INNER_PRODUCT)
            index.nprobe = self._effort.probes
            index.train(self._sample(rows, 64 * cells))
        if self._kind == "hnsw":
            index = faiss.IndexHNSWFlat(width, self._effort.links, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = index.hnsw.efSearch = self._effort.breadth
        if self._on_gpu:
            index = self._moved(index)
        for unit in self._units(rows):
            index.add(unit)
        return index

    def _moved(self, index: Any) -> Any:
        """An empty index on all GPUs, rows split among them, or on this process's own; in float16."""
        if self._all_gpus:
            options = self._faiss.GpuMultipleClonerOptions()
            options.useFloat16, options.shard = True, True
            return self._faiss.index_cpu_to_all_gpus(index, options)
        options, device = self._faiss.GpuClonerOptions(), int(os.environ.get("LOCAL_RANK", "0"))
        options.useFloat16 = True
        self._resources = self._faiss.StandardGpuResources()  # must outlive the index
        return self._faiss.index_cpu_to_gpu(self._resources, device % gpus(), index, options)

    def _units(self, rows: range) -> Iterator[Float32[np.ndarray, "row width"]]:
        for start in range(rows.start, rows.stop, BLOCK):
            yield self._matrix.unit(self._snippets[start : min(start + BLOCK, rows.stop)])

    def _sample(self, rows: range, most: int) -> Float32[np.ndarray, "row width"]:
        chosen = np.random.default_rng(0).permutation(len(rows))[:most]
        return self._matrix.unit(self._snippets[rows.start + np.sort(chosen)])


@cache
def gpus() -> int:
    """The GPUs that the installed build of faiss sees; asked once, since looking for several faiss takes a second."""
    faiss = load_faiss()
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


def load_faiss() -> ModuleType:
    """The faiss module; raises Refusal when none is installed, or several that overwrite each other's files."""
    installed = sorted(set(packages_distributions().get("faiss", [])))
    if len(installed) > 1:
        raise Refusal(
            f"Exactly one faiss may be installed, but {' and '.join(installed)} both are and overwrite each "
            f"other's files: pip uninstall {' '.join(installed)}, then install one of the extras .[cpu], "
            ".[cuda12], .[cuda13]."
        )
    try:
        import faiss
    except ImportError:
        raise Refusal(
            "The graph needs faiss, but it is not installed: pip install -e '.[cpu]' on a machine without a "
            "GPU, '.[cuda12]' for CUDA 12, or '.[cuda13]' for CUDA 13."
        ) from None
    return faiss


def _cut(places: range, length: int) -> list[range]:
    return [places[start : start + length] for start in range(0, len(places), length)]
