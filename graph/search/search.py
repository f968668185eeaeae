"""The search of one modality: rows → neighbour lists, by whichever engine, in steps that a killed build resumes.

The engines fill the same lists (`Best`), of originals (`Copies`). `auto` takes faiss where it sees a GPU, the block
engine on CPU, and HNSW beyond what is compared exhaustively in reasonable time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from graph.ranks import Ranks
from graph.rows.matrix import Matrix
from graph.search.best import Best, Lists, bar_at
from graph.search.blocks import GROUP, WIDTH, Comparison, processors, screening_pays, tasks
from graph.search.index import MOST_ON_GPU, SPARE, Effort, Index, Kind, gpus
from graph.search.notes import beside, keep, kept_in
from graph.search.pairs import Pairs
from launch.progress import say, track
from launch.refusal import Refusal
from launch.settings import Settings

Engine = Literal["auto", "blocks", "faiss", "ivf", "hnsw"]
SAVE_EVERY = 30.0
"""Seconds between two notes of how far a search is …"""
SAVE_SHARE = 20.0
"""… and at least so many times as long as writing one took."""


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
    threads: int = Field(
        0, ge=0, description="threads of the block engine; 0: one a core, shared by the processes here"
    )
    batch: int = Field(4096, ge=1, description="faiss: snippets searched for at a time")
    cells: int = Field(0, ge=0, description="ivf: cells; 0: four times the root of the number of snippets")
    probes: int = Field(16, ge=1, description="ivf: cells looked into for a snippet; more miss less and take longer")
    reach: int = Field(8, ge=1, description="hnsw: how many times k neighbours are looked for; all of them make edges")
    links: int = Field(24, ge=2, description="hnsw: links of a snippet; more miss less and take memory")
    breadth: int = Field(64, ge=1, description="hnsw: candidates kept while searching; more miss less, take longer")

    def chosen(self, snippets: int, processes: int) -> Engine:
        """The engine that auto means for so many snippets.

        Raises Refusal for k that no list of so many snippets can hold, or no GPU finds, and where faiss is needed but
        missing, or there twice.
        """
        check_k(snippets, self.k)
        engine, gpu = self.engine, self.engine != "blocks" and gpus() > 0
        if engine == "auto" and snippets > self.exact_up_to * max(processes, 1) * (8 if gpu else 1):
            engine = "hnsw"
        elif engine == "auto":
            engine = "faiss" if gpu else "blocks"
        if engine == "faiss" and gpu and self.k + 1 + SPARE > MOST_ON_GPU:
            raise Refusal(
                f"faiss lists at most {MOST_ON_GPU - 1 - SPARE} neighbours on a GPU, but search.k is {self.k}: lower "
                "it, or set search.engine to blocks."
            )
        return engine


@dataclass(frozen=True)
class Known:
    """Lists that an earlier graph holds, of the rows that stand first in the order of the search."""

    lists: Lists
    count: int
    """Rows that were compared with each other."""


@dataclass(frozen=True)
class Found:
    """What one process found."""

    lists: Lists
    """Of its slice of the rows."""
    pairs: Pairs
    """Pairs above the floor, of all rows; each comes once or twice."""
    every: bool
    """Whether the pairs that all processes kept are all there are above the floor."""


@dataclass(frozen=True)
class Search:
    """The search of one modality among chosen snippets, who go by their places."""

    matrix: Matrix
    snippets: Int[np.ndarray, " chosen"]
    floor: float
    settings: SearchSettings
    engine: Engine
    """As `SearchSettings.chosen` gives it, the same on every process."""
    ranks: Ranks = field(default_factory=Ranks)
    known: Known | None = None

    @property
    def exact(self) -> bool:
        """Whether the lists hold all that they claim to."""
        return self.engine in ("blocks", "faiss")

    def run(self, notes: Path | None = None) -> "Found":
        """This process's part of what there is to find: the lists of its slice of the rows, and pairs.

        With `notes`, a file, what is found is kept there from time to time, and a later start goes on from it.
        """
        best, pairs = Best(len(self.snippets), self.settings.k, self.floor), Pairs(beside(notes))
        done = self._begin(best, pairs, notes)
        steps = self._blocks(best, pairs, done) if self.engine == "blocks" else self._index(best, pairs, done)
        due = monotonic() + SAVE_EVERY
        for step in steps:
            done = step
            if notes and monotonic() > due:
                start = monotonic()
                keep(notes, self._identity, best.lists(), pairs, done)
                due = monotonic() + max(SAVE_EVERY, SAVE_SHARE * (monotonic() - start))
        found = best.lists()
        if notes:
            keep(notes, self._identity, found, pairs, done)
        every = self.engine == "blocks" and not self.known and not pairs.dropped
        return Found(self._exchanged(found), pairs, every)

    def _begin(self, best: Best, pairs: Pairs, notes: Path | None) -> int:
        """Fills in what is known, or what an earlier start noted; returns how many steps it had done."""
        kept = kept_in(notes, self._identity) if notes else None
        if kept and pairs.resume(kept.pairs):
            best.start_from(kept.lists)
            say(f"Going on with the {self.matrix.feature} search where it was left, after {kept.steps:,} steps.")
            return kept.steps
        pairs.resume(0)
        if self.known and self.ranks.leads:
            best.start_from(self.known.lists)
        return 0

    def _blocks(self, best: Best, pairs: Pairs, done: int) -> Iterator[int]:
        """Runs the block engine on what is left of this process's tasks; yields how many are done.

        As long as all pairs are kept, all above the floor come; after that, those that are of use to a list.
        """
        work = self.ranks.of(list(tasks(len(self.snippets), self._since)))[done:]
        screened = screening_pays()
        comparison = Comparison(self.matrix, self.snippets, self.floor, screened, self._since)
        wanted = np.full(len(self.snippets), bar_at(self.floor), np.float32)
        found = comparison.run(work, wanted, self.settings.threads or processors())
        what = f"{self.matrix.feature} pairs{' (screened in bfloat16)' if screened else ''}"
        for some in track(found, what, len(work), "blocks"):
            best.add(some)
            pairs.add(some)
            if pairs.dropped:
                np.copyto(wanted, best.bar)
            done += 1
            yield done

    def _index(self, best: Best, pairs: Pairs, done: int) -> Iterator[int]:
        """Searches this process's rows in a faiss index, batch by batch; yields how many batches are done."""
        kinds: dict[Engine, Kind] = {"faiss": "flat", "ivf": "ivf", "hnsw": "hnsw"}
        chosen = self.settings
        effort = Effort(chosen.cells, chosen.probes, chosen.links, chosen.breadth)
        alone = self.ranks.size == 1
        index = Index(self.matrix, self.snippets, kinds[self.engine], effort, chosen.batch, all_gpus=alone)
        work = index.steps(self.ranks.slice(len(self.snippets)), self._since)[done:]
        for step in track(work, f"{self.matrix.feature} neighbours ({self.engine})", len(work), "batches"):
            pairs.add(index.find(step, best, chosen.k * (chosen.reach if self.engine == "hnsw" else 1)))
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
    def _identity(self) -> str:
        """What the numbers of steps in notes mean."""
        shape = f"{len(self.snippets)} rows since {self._since}, {WIDTH} x {GROUP}, by {self.settings.batch}"
        return f"{self.engine}, {self.settings}, floor {self.floor!r}, {shape}, {self.ranks.rank}"

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
