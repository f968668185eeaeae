"""One search, whoever does it: engines, several processes, a killed one, one that knows some of the rows."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graph.ranks import Ranks
from graph.rows.matrix import Matrix
from graph.search import blocks, search
from graph.search.best import Best, Lists
from graph.search.search import Engine, Known, Search, SearchSettings

SETTINGS = SearchSettings(k=6, batch=32)
FLOOR = 0.8


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "WIDTH", 32)
    monkeypatch.setattr(blocks, "GROUP", 2)


@pytest.fixture
def plan(matrix_of: Callable[..., Matrix]) -> Search:
    rows = np.random.default_rng(0).normal(size=(30, 1, 8)) + 0.5 * np.random.default_rng(1).normal(size=(30, 10, 8))
    matrix = matrix_of(rows.reshape(300, 8))
    return Search(matrix, np.arange(300, dtype=np.int32), FLOOR, SETTINGS)


def same(one: Lists, other: Lists) -> None:
    np.testing.assert_array_equal(one.near.indices, other.near.indices)
    np.testing.assert_allclose(one.near.similarities, other.near.similarities, atol=1e-6)
    np.testing.assert_allclose(one.bar, other.bar, atol=1e-6)


def with_engine(plan: Search, engine: Engine) -> Search:
    return replace(plan, settings=plan.settings.model_copy(update={"engine": engine}))


def test_the_block_engine_and_faiss_list_the_same(plan: Search) -> None:
    same(with_engine(plan, "blocks").run(), with_engine(plan, "faiss").run())


def test_lists_and_bars_are_those_of_brute_force(plan: Search) -> None:
    cosine = plan.matrix.tile(plan.snippets, plan.snippets)
    np.fill_diagonal(cosine, -2)
    found = with_engine(plan, "blocks").run()
    for row in range(300):
        expected = [other for other in np.argsort(-cosine[row]) if cosine[row, other] > FLOOR][: SETTINGS.k]
        assert found.near.indices[row, : len(expected)].tolist() == expected
    full = found.near.indices[:, -1] >= 0
    assert full.any()
    assert not full.all()
    np.testing.assert_allclose(found.bar, np.where(full, found.near.weakest, FLOOR), atol=1e-6)


@pytest.mark.parametrize(
    ("snippets", "processes", "gpus", "engine"),
    [(100, 1, 0, "blocks"), (101, 1, 0, "hnsw"), (400, 4, 0, "blocks"), (800, 1, 2, "faiss"), (801, 1, 2, "hnsw")],
)
def test_auto_is_exact_up_to_a_number_of_snippets(
    monkeypatch: pytest.MonkeyPatch, snippets: int, processes: int, gpus: int, engine: str
) -> None:
    monkeypatch.setattr(search, "gpus", lambda: gpus)
    assert SearchSettings(exact_up_to=100).chosen(snippets, processes) == engine


class Together:
    """Ranks that live in threads of one process: `exchange` over a shared table."""

    def __init__(self, size: int) -> None:
        self.size, self.table, self.barrier = size, {}, threading.Barrier(size)

    def rank(self, number: int) -> Ranks:
        together = self

        class Threaded(Ranks):
            def exchange(self, items: list) -> list:
                together.table[self.rank] = items
                together.barrier.wait()
                return [together.table[rank][self.rank] for rank in range(self.size)]

        return Threaded(number, self.size)


@pytest.mark.parametrize("engine", ["blocks", "faiss"])
@pytest.mark.parametrize("size", [2, 3])
def test_processes_list_their_rows_as_one_would(plan: Search, engine: Engine, size: int) -> None:
    plan, together = with_engine(plan, engine), Together(size)
    found: dict[int, Lists] = {}

    def run(rank: int) -> None:
        found[rank] = replace(plan, ranks=together.rank(rank)).run()

    workers = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    same(Lists.joined([found[rank] for rank in range(size)]), plan.run())


@pytest.mark.parametrize("engine", ["blocks", "faiss"])
@pytest.mark.parametrize("count", [1, 150, 290, 300])
def test_rows_that_know_each_other_are_only_compared_with_new_ones(plan: Search, engine: Engine, count: int) -> None:
    plan = with_engine(plan, engine)
    nothing = Best(300 - count, SETTINGS.k, FLOOR).lists()
    before = Lists.joined([replace(plan, snippets=plan.snippets[:count]).run(), nothing])
    same(replace(plan, known=Known(before, count)).run(), plan.run())


@pytest.mark.parametrize("engine", ["blocks", "faiss"])
def test_a_search_that_was_stopped_goes_on_from_its_notes(
    plan: Search, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    plan, notes = with_engine(plan, engine), tmp_path / "audio.safetensors"
    whole = plan.run()
    monkeypatch.setattr(search, "SAVE_EVERY", -1.0)
    keep, kept = search._keep, []

    def stop_after_four(path: Path, lists: Lists, done: int) -> None:
        keep(path, lists, done)
        kept.append(done)
        if done == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(search, "_keep", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        plan.run(notes)
    monkeypatch.setattr(search, "_keep", lambda path, lists, done: kept.append(done) or keep(path, lists, done))
    same(plan.run(notes), whole)
    assert kept[:5] == [1, 2, 3, 4, 5]
    assert "where it was left, after 4 steps" in capsys.readouterr().out


def test_notes_that_are_damaged_are_not_gone_on_from(plan: Search, tmp_path: Path) -> None:
    notes = tmp_path / "audio.safetensors"
    notes.write_bytes(b"\x07" * 40)
    same(plan.run(notes), plan.run())
