"""The symmetric block engine: every pair of rows compared once, exactly, at less than the price of a float32 product.

Rows are cut into blocks, and a tile is the product of two blocks. Where the processor multiplies bfloat16 faster than
float32, a tile is *screened* first: with x̃ the unit row x rounded to bfloat16 and e the largest ‖x - x̃‖ of all rows,

    |⟨x, y⟩ - ⟨x̃, ỹ⟩| ≤ ‖x - x̃‖ ‖ỹ‖ + ‖x‖ ‖y - ỹ‖ ≤ e (1 + e) + e = 2e + e²,

so a pair whose coarse product is below the floor less 2e + e² is not above the floor. What remains (and a tile where
much remains, as a whole) gets its float32 product, so what comes out is what plain float32 products give. Rounding the
coarse product to bfloat16 keeps the order, so it is compared with the bound rounded alike. The float32 accumulation of
either product errs by less than `SLACK`.

A task is one group of row blocks against one block of columns: a block is converted once for eight tiles, and memory
stays at a group and a few blocks, whatever the corpus.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor

from graph.forests.forest import Edges
from graph.ranks import Ranks
from graph.rows.matrix import Matrix
from graph.search.best import bar_at
from launch.progress import track

WIDTH = 1024
"""Rows of a block: a bfloat16 tile takes 2 MiB, which stays in a core's cache."""
GROUP = 8
"""Row blocks of a task."""
SLACK = 1e-4
"""Cosine: more than float32 accumulation over some thousand terms errs by."""
DENSE = 1 / 64
"""Share of a tile's pairs from which on all of it is multiplied in float32, rather than pair by pair."""


@dataclass(frozen=True)
class Task:
    """Some rows against one block of columns, both as ranges of places."""

    rows: range
    columns: range


def tasks(count: int, since: int = 0) -> Iterator[Task]:
    """All tasks that compare each pair of `count` places once, those of the same rows together.

    With `since`, only the pairs that have an end at or behind it: what is new is compared with everything.
    """
    for start in range(0, count, WIDTH * GROUP):
        rows = range(start, min(start + WIDTH * GROUP, count))
        first = start if rows.stop > since else since // WIDTH * WIDTH
        for column in range(first, count, WIDTH):
            if rows.stop > since or column + WIDTH > since:
                yield Task(rows, range(column, min(column + WIDTH, count)))


class Comparison:
    """Compares the chosen snippets of a matrix with each other, task by task; snippets go by their places.

    Places before `since` know each other already: only pairs with an end at or behind it come out.
    """

    def __init__(
        self, matrix: Matrix, snippets: Int[np.ndarray, " chosen"], floor: float, screened: bool, since: int = 0
    ) -> None:
        self._matrix, self._snippets, self._since = matrix, snippets, since
        self._screen = _screen(matrix, snippets, floor) if screened else None
        self._group: list[_Block] = []

    def run(self, work: Sequence[Task], bar: Float32[np.ndarray, " chosen"], processors: int) -> Iterator[Edges]:
        """The pairs of each task in turn: those that reach the bar of at least one end, each once, `first < second`.

        The bar may rise while this runs; `processors` threads work on tasks side by side.
        """
        with threads(processors) as pool:
            for rows, some in groupby(work, key=lambda task: task.rows):
                starts = range(rows.start, rows.stop, WIDTH)
                self._group = [self._block(range(start, min(start + WIDTH, rows.stop))) for start in starts]
                waiting: deque[Future[Edges]] = deque()
                for task in some:  # few at a time: what one finds may be large, and rows' bars rise meanwhile
                    waiting.append(pool.submit(self._pairs, task.columns, bar))
                    if len(waiting) > 2 * processors:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()

    def _pairs(self, places: range, bar: Float32[np.ndarray, " chosen"]) -> Edges:
        columns = self._block(places)
        return Edges.joined([self._tile(rows, columns, bar) for rows in self._group if rows.start <= columns.start])

    def _block(self, places: range) -> "_Block":
        rows = torch.from_numpy(self._matrix.unit(self._snippets[places.start : places.stop]))
        return _Block(places.start, rows, rows.bfloat16() if self._screen is not None else None)

    def _tile(self, rows: "_Block", columns: "_Block", bar: Float32[np.ndarray, " chosen"]) -> Edges:
        shape = (len(rows.unit), len(columns.unit))
        if self._screen is not None:
            assert rows.coarse is not None
            assert columns.coarse is not None
            coarse = (rows.coarse @ columns.coarse.T).view(torch.int16).numpy()
            near = np.flatnonzero(coarse >= self._screen)
            if len(near) < DENSE * coarse.size:
                row, column = np.divmod(near.astype(np.int32), np.int32(shape[1]))
                products = np.einsum("pw,pw->p", rows.unit.numpy()[row], columns.unit.numpy()[column], optimize=False)
                return self._useful(rows.start + row, columns.start + column, products, bar)
        product = (rows.unit @ columns.unit.T).numpy()
        lowest = min(bar[rows.start : rows.start + shape[0]].min(), bar[columns.start : columns.start + shape[1]].min())
        row, column = np.divmod(np.flatnonzero(product >= lowest).astype(np.int32), np.int32(shape[1]))
        return self._useful(rows.start + row, columns.start + column, product[row, column], bar)

    def _useful(self, first: np.ndarray, second: np.ndarray, products: np.ndarray, bar: np.ndarray) -> Edges:
        np.minimum(products, 1, out=products)  # rounding may bring a product of unit rows beyond it
        useful = (first < second) & (second >= self._since) & ((products >= bar[first]) | (products >= bar[second]))
        return Edges(first[useful], second[useful], products[useful])


def compared(
    matrix: Matrix, snippets: Int[np.ndarray, " chosen"], floor: float, ranks: Ranks, what: str
) -> Iterator[Edges]:
    """This process's share of the pairs above the floor among the chosen snippets; of all shares, each pair once.

    Joined to an empty forest, those of all snippets are the exhaustive graph itself.
    """
    work = ranks.of(list(tasks(len(snippets))))
    bar = np.full(len(snippets), bar_at(floor), np.float32)
    comparison = Comparison(matrix, snippets, floor, screening_pays())
    for pairs in track(comparison.run(work, bar, processors()), what, len(work), "blocks"):
        yield Edges(snippets[pairs.first], snippets[pairs.second], pairs.similarity)


@dataclass(frozen=True)
class _Block:
    """Consecutive places, converted."""

    start: int
    unit: Float32[Tensor, "row width"]
    coarse: Tensor | None
    """bfloat16."""


@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads each multiply by themselves: torch works on one core in each of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def processors() -> int:
    """The cores that one process may use: OMP_NUM_THREADS where it is set, else all that the system gives it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return int(os.environ.get("OMP_NUM_THREADS") or 0) or allowed or 1


@cache
def screening_pays() -> bool:
    """Whether this x86 processor has instructions for bfloat16 products (2.3 times as fast as float32 where measured).

    It is read off the processor's flags, not timed, so that one machine always multiplies in the same way. Where there
    are no flags to read, nothing is screened.
    """
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def _screen(matrix: Matrix, snippets: Int[np.ndarray, " chosen"], floor: float) -> np.int16 | None:
    """The bfloat16 bits that a coarse product must reach; None where the bound is not above 0.

    Positive bfloat16 numbers are ordered as their bits are, and negative ones have bits below them.
    """
    error = 0.0
    for start in range(0, len(snippets), WIDTH * GROUP):
        unit = torch.from_numpy(matrix.unit(snippets[start : start + WIDTH * GROUP]))
        error = max(error, float((unit - unit.bfloat16().float()).norm(dim=1).max()))
    bound = floor - (2 * error + error**2) - SLACK
    if bound <= 0:
        return None
    return np.int16(torch.tensor(bound, dtype=torch.float64).bfloat16().view(torch.int16).item())
