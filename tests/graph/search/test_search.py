"""One search, whoever does it: engines, several processes, a killed one, one that knows some of the rows."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graph.forests.forest import Edges
from graph.ranks import Ranks
from graph.rows.matrix import Matrix
from graph.search import blocks, pairs, search
from graph.search.best import Best, Lists
from graph.search.pairs import Pairs
from graph.search.search import Engine, Found, Known, Search, SearchSettings
from launch.refusal import Refusal

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
    return Search(matrix, np.arange(300, dtype=np.int32), FLOOR, SETTINGS, "blocks")


def same(one: Lists, other: Lists) -> None:
    np.testing.assert_array_equal(one.near.indices, other.near.indices)
    np.testing.assert_allclose(one.near.similarities, other.near.similarities, atol=1e-6)
    np.testing.assert_allclose(one.bar, other.bar, atol=1e-6)


def test_the_block_engine_and_faiss_list_the_same(plan: Search) -> None:
    same(replace(plan, engine="blocks").run().lists, replace(plan, engine="faiss").run().lists)


def kept(found: Found, count: int = 300) -> list[tuple[int, int]]:
    edges = Edges.joined(list(found.pairs.edges(np.arange(count), np.zeros(count, bool))))
    return sorted(zip(edges.first.tolist(), edges.second.tolist(), strict=True))


def above(plan: Search) -> list[tuple[int, int]]:
    cosine = plan.matrix.tile(plan.snippets, plan.snippets)
    first, second = np.nonzero(np.triu(cosine > FLOOR, 1))
    return sorted(zip(first.tolist(), second.tolist(), strict=True))


def test_the_block_engine_keeps_every_pair_above_the_floor_once(plan: Search) -> None:
    found = plan.run()
    assert found.every
    assert kept(found) == above(plan)


def test_pairs_that_are_too_many_are_dropped_and_the_lists_are_none_the_worse(
    plan: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = plan.run()
    monkeypatch.setattr(pairs, "MOST", 500)
    found = plan.run()
    assert found.pairs.dropped
    assert not found.every
    same(found.lists, whole.lists)


@pytest.mark.parametrize("engine", ["ivf", "hnsw"])
def test_approximate_engines_keep_more_pairs_than_they_list(plan: Search, engine: Engine) -> None:
    found = replace(plan, engine=engine, settings=SearchSettings(k=2, reach=10, cells=2, probes=2, batch=64)).run()
    ends = np.array(kept(found))
    assert np.bincount(ends[:, 0], minlength=300).max() > 2
    assert set(map(tuple, np.sort(ends, axis=1).tolist())) <= set(above(plan))
    assert not found.every


def test_lists_and_bars_are_those_of_brute_force(plan: Search) -> None:
    cosine = plan.matrix.tile(plan.snippets, plan.snippets)
    np.fill_diagonal(cosine, -2)
    found = plan.run().lists
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


def test_lists_too_long_for_a_gpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SearchSettings(k=3000).chosen(5000, 1) == "blocks"
    monkeypatch.setattr(search, "gpus", lambda: 1)
    with pytest.raises(Refusal, match=r"at most 2039 neighbours on a GPU, but search\.k is 3000"):
        SearchSettings(k=3000).chosen(5000, 1)


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
    plan, together = replace(plan, engine=engine), Together(size)
    found: dict[int, Lists] = {}

    def run(rank: int) -> None:
        found[rank] = replace(plan, ranks=together.rank(rank)).run().lists

    workers = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    same(Lists.joined([found[rank] for rank in range(size)]), plan.run().lists)


@pytest.mark.parametrize("engine", ["blocks", "faiss"])
@pytest.mark.parametrize("count", [1, 150, 290, 300])
def test_rows_that_know_each_other_are_only_compared_with_new_ones(plan: Search, engine: Engine, count: int) -> None:
    plan = replace(plan, engine=engine)
    nothing = Best(300 - count, SETTINGS.k, FLOOR).lists()
    before = Lists.joined([replace(plan, snippets=plan.snippets[:count]).run().lists, nothing])
    same(replace(plan, known=Known(before, count)).run().lists, plan.run().lists)


@pytest.mark.parametrize("engine", ["blocks", "faiss"])
def test_a_search_that_was_stopped_goes_on_from_its_notes(
    plan: Search, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    plan, notes = replace(plan, engine=engine), tmp_path / "audio.safetensors"
    whole = plan.run()
    monkeypatch.setattr(search, "SAVE_EVERY", -1.0)
    monkeypatch.setattr(search, "SAVE_SHARE", -1.0)
    keep, noted = search.keep, []

    def stop_after_four(path: Path, identity: str, lists: Lists, pairs: Pairs, done: int) -> None:
        keep(path, identity, lists, pairs, done)
        noted.append(done)
        if done == 4:
            pairs.add(Edges(np.array([1]), np.array([2]), np.array([0.9], np.float32)))  # written, but not noted
            pairs.settle()
            raise KeyboardInterrupt

    monkeypatch.setattr(search, "keep", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        plan.run(notes)
    monkeypatch.setattr(search, "keep", lambda *arguments: noted.append(arguments[4]) or keep(*arguments))
    found = plan.run(notes)
    same(found.lists, whole.lists)
    assert kept(found) == kept(whole)
    assert noted[:5] == [1, 2, 3, 4, 5] or noted[:3] == [1, 2, 3]
    assert "where it was left, after 4 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changed",
    [{"engine": "faiss"}, {"floor": 0.81}, {"settings": SearchSettings(k=7, batch=32)}, {"ranks": Ranks(0, 1, 1)}],
)
def test_notes_of_another_search_are_not_gone_on_from(
    plan: Search, changed: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plan.run(tmp_path / "audio.safetensors")
    replace(plan, **changed).run(tmp_path / "audio.safetensors")
    assert ("where it was left" in capsys.readouterr().out) == ("ranks" in changed)  # a group is no other rank


@pytest.mark.parametrize("damage", [b"\x07" * 40, None])
def test_notes_that_are_damaged_or_lack_their_pairs_are_not_gone_on_from(
    plan: Search, tmp_path: Path, damage: bytes | None
) -> None:
    notes = tmp_path / "audio.safetensors"
    whole = plan.run(notes)
    if damage:
        notes.write_bytes(damage)
    else:
        notes.with_suffix(".pairs").write_bytes(b"")
    again = plan.run(notes)
    same(again.lists, whole.lists)
    assert kept(again) == kept(whole)
