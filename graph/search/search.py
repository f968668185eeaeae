"""The search of one modality: rows → neighbour lists, by whichever engine, in steps that a killed build resumes.

The engines fill the same lists (`Best`), of originals (`Copies`). `auto` takes faiss where it sees a GPU, the block
engine on CPU, and HNSW beyond what is compared exhaustively in reasonable time.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from graph.ranks import Ranks
from graph.rows.matrix import Matrix
from graph.search.best import Best, Lists
from graph.search.blocks import Comparison, screening_pays, tasks
from graph.search.index import MOST_ON_GPU, SPARE, Effort, Index, Kind, gpus
from graph.search.neighbours import Neighbours
from launch.atomic import whole_file
from launch.progress import say, track
from launch.refusal import Refusal
from launch.settings import Settings

Engine = Literal["auto", "blocks", "faiss", "ivf", "hnsw"]
SAVE_EVERY = 30.0
"""Seconds between two notes of how far a search is."""


class SearchSettings(Settings):
    """How neighbours are found."""

    engine: Engine = Field(
        "auto",
        description="blocks: exact, every pair once; faiss: exact, on the GPUs there are; ivf, hnsw: approximate; "
        "auto: faiss with a GPU, else blocks, and hnsw above exact_up_to",
    )
    k: int = Field(
        32,
        ge=1,
        description="neighbours listed for each snippet; more cost 8 bytes each and save exhaustive comparisons; "
        "components change only with who is a hub",
    )
    exact_up_to: int = Field(
        500_000,
        ge=0,
        description="snippets (of each process; eight times as many with a GPU) that auto searches exactly",
    )
    repair: bool = Field(
        True,
        description="whether saturated snippets, whose lists may leave out edges, are compared with each other "
        "exhaustively; without it no threshold is exact, and after an approximate engine it finds most of the misses",
    )
    threads: int = Field(
        0, ge=0, description="threads of the block engine; 0: one a core, shared by the processes here"
    )
    batch: int = Field(4096, ge=1, description="faiss: snippets searched for at a time")
    cells: int = Field(0, ge=0, description="ivf: cells; 0: four times the root of the number of snippets")
    probes: int = Field(16, ge=1, description="ivf: cells looked into for a snippet; more miss less and take longer")
    links: int = Field(24, ge=2, description="hnsw: links of a snippet; more miss less and take memory")
    breadth: int = Field(64, ge=1, description="hnsw: candidates kept while searching; more miss less, take longer")

    def chosen(self, snippets: int, processes: int) -> Engine:
        """The engine that auto means for so many snippets."""
        if self.engine != "auto":
            return self.engine
        gpu = gpus() > 0
        if snippets > self.exact_up_to * max(processes, 1) * (8 if gpu else 1):
            return "hnsw"
        return "faiss" if gpu else "blocks"


@dataclass(frozen=True)
class Known:
    """Lists that an earlier graph holds, of the rows that stand first in the order of the search."""

    lists: Lists
    count: int
    """Rows that were compared with each other."""


@dataclass(frozen=True)
class Search:
    """The search of one modality among chosen snippets, who go by their places."""

    matrix: Matrix
    snippets: Int[np.ndarray, " chosen"]
    floor: float
    settings: SearchSettings
    ranks: Ranks = field(default_factory=Ranks)
    known: Known | None = None

    @property
    def engine(self) -> Engine:
        """The engine that is used; raises Refusal for lists that are too long for it."""
        engine, k = self.settings.chosen(len(self.matrix), self.ranks.size), self.settings.k
        if engine == "faiss" and gpus() and k + 1 + SPARE > MOST_ON_GPU:
            raise Refusal(
                f"faiss lists at most {MOST_ON_GPU - 1 - SPARE} neighbours on a GPU, but search.k is {k}: lower it, or "
                "set search.engine to blocks."
            )
        return engine

    @property
    def exact(self) -> bool:
        """Whether every threshold from the floor up will be exact."""
        return self.settings.repair and self.engine in ("blocks", "faiss")

    def run(self, notes: Path | None = None) -> Lists:
        """The lists of all rows, whole on every process for its slice of them, and empty for the others' rows.

        With `notes`, a file, what is found is kept there from time to time, and a later start goes on from it.
        """
        best = Best(len(self.snippets), self.settings.k, self.floor)
        done = self._begin(best, notes)
        saved = monotonic()
        steps = self._blocks(best, done) if self.engine == "blocks" else self._index(best, done)
        for step in steps:
            done = step
            if notes and monotonic() - saved > SAVE_EVERY:
                _keep(notes, best.lists(), done)
                saved = monotonic()
        found = best.lists()
        if notes:
            _keep(notes, found, done)
        return self._exchanged(found)

    def _begin(self, best: Best, notes: Path | None) -> int:
        """Fills in what is known, or what an earlier start noted; returns how many steps it had done."""
        kept = _kept(notes, best) if notes else None
        if kept:
            best.start_from(kept[0])
            say(f"Going on with the {self.matrix.feature} search where it was left, after {kept[1]:,} steps.")
            return kept[1]
        if self.known and self.ranks.leads:
            best.start_from(self.known.lists)
        return 0

    def _blocks(self, best: Best, done: int) -> Iterator[int]:
        """Runs the block engine on what is left of this process's tasks; yields how many are done."""
        work = self.ranks.of(list(tasks(len(self.snippets), self._since)))[done:]
        screened = screening_pays(self.matrix.width)
        comparison = Comparison(self.matrix, self.snippets, self.floor, screened, self._since)
        found = comparison.run(work, best.bar, self.settings.threads or processors())
        what = f"{self.matrix.feature} pairs{' (screened in bfloat16)' if screened else ''}"
        for pairs in track(found, what, len(work), "blocks"):
            best.add(pairs)
            done += 1
            yield done

    def _index(self, best: Best, done: int) -> Iterator[int]:
        """Searches this process's rows in a faiss index, batch by batch; yields how many batches are done."""
        kinds: dict[Engine, Kind] = {"faiss": "flat", "ivf": "ivf", "hnsw": "hnsw"}
        chosen = self.settings
        effort = Effort(chosen.cells, chosen.probes, chosen.links, chosen.breadth)
        index = Index(self.matrix, self.snippets, kinds[self.engine], effort, chosen.batch)
        work = index.steps(self.ranks.slice(len(self.snippets)), self._since)[done:]
        for step in track(work, f"{self.matrix.feature} neighbours ({self.engine})", len(work), "batches"):
            index.find(step, best, chosen.k)
            done += 1
            yield done

    def _exchanged(self, found: Lists) -> Lists:
        """This process's slice of the lists from what all processes found."""
        if self.ranks.size == 1:
            return found
        parts = self.ranks.exchange([found.of(rows) for rows in self.ranks.slices(len(self.snippets))])
        best = Best(len(parts[0].bar), self.settings.k, self.floor)
        for part in parts:
            best.start_from(part)
        return best.lists()

    @property
    def _since(self) -> int:
        return self.known.count if self.known else 0


def check_k(snippets: int, k: int) -> None:
    """Raises Refusal when a list of k neighbours cannot be filled."""
    if k >= snippets:
        raise Refusal(
            f"A snippet's list can hold at most all other snippets, but k is {k} and the shards hold "
            f"{snippets} snippets: give --search.k a value below {snippets} or more videos."
        )


def processors() -> int:
    """The cores that one process may use: OMP_NUM_THREADS where it is set, else all of this machine's."""
    return int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1


def _keep(notes: Path, lists: Lists, done: int) -> None:
    near = lists.near
    tensors = {"indices": near.indices, "similarities": near.similarities, "bar": lists.bar, "done": np.array([done])}
    with whole_file(notes) as temporary:
        save_file(tensors, temporary)


def _kept(notes: Path, best: Best) -> tuple[Lists, int] | None:
    """What was noted, and after how many steps; None where nothing was, or the file is no such note."""
    if not notes.exists():
        return None
    try:
        with safe_open(notes, "np") as file:
            near = Neighbours(file.get_tensor("indices"), file.get_tensor("similarities"))
            lists, done = Lists(near, file.get_tensor("bar")), int(file.get_tensor("done")[0])
    except (SafetensorError, OSError):
        return None
    return (lists, done) if lists.bar.shape == best.bar.shape else None
