from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from graph.inspect import Graph
from shards.read import Shards
from tests.graph.finished import THRESHOLD, Finished, finish, snippet_of


@pytest.fixture
def finished(shard_set: Callable[..., Shards], scenes: Callable[..., dict], tmp_path: Path) -> Finished:
    """The graph of thirty videos."""
    return finish(shard_set(scenes(30)), tmp_path)


def test_chains_are_the_shortest_in_the_forests_and_exist_inside_components_only(finished: Finished) -> None:
    (way,) = Graph.load(finished.folder, finished.shards).ways
    joined = nx.Graph()
    for side in finished.sides:
        cut = side.forest.cut(THRESHOLD)
        joined.add_edges_from(zip(cut.first.tolist(), cut.second.tolist(), strict=True))
    random = np.random.default_rng(0)
    seen = set()
    for one, other in random.integers(0, len(finished.ids), (60, 2)).tolist():
        chain = way.ties.chain(one, other)
        seen.add(chain is None)
        assert (chain is None) == (finished.ids[one, 0] != finished.ids[other, 0])
        if chain:
            assert len(chain) == nx.shortest_path_length(joined, one, other)
            assert chain[-1].to == other
    assert seen == {True, False}


def test_a_drawing_holds_the_component_its_listed_edges_and_their_similarities(
    finished: Finished, tmp_path: Path
) -> None:
    finished.say(finished.shards.keys[0], second=0, graphml=tmp_path / "one.graphml")
    drawn = nx.read_graphml(tmp_path / "one.graphml")
    members = set(np.flatnonzero(finished.ids[:, 0] == finished.ids[0, 0]).tolist())
    assert {snippet_of(name) for name in drawn} == members
    assert all(name == f"{about['key']}@{about['second']}" for name, about in drawn.nodes(data=True))
    assert nx.is_connected(nx.Graph(drawn))
    assert drawn.number_of_edges() > len(members)
    pairs = set()
    for one, other, about in drawn.edges(data=True):
        ends = snippet_of(one), snippet_of(other)
        assert about["similarity"] == pytest.approx(finished.cosine(about["modality"], *ends), abs=1e-5)
        assert about["similarity"] > THRESHOLD
        pairs.add((about["modality"], *sorted(ends)))
    assert len(pairs) == drawn.number_of_edges()
