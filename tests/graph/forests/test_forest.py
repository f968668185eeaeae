from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.forests.forest import Edges, Forest, components
from launch.refusal import Refusal

VALUES = np.array([-0.5, 0.0, 0.25, 0.5, 0.7, 0.75, 0.9, 1.0], np.float32)
Graph = tuple[int, Edges]


def random_edges(nodes: int, count: int, seed: int) -> Edges:
    """Edges with few different similarities (many ties), doubled pairs and loops included."""
    random = np.random.default_rng(seed)
    ends = random.integers(0, nodes, (2, count)).astype(np.int32)
    return Edges(ends[0], ends[1], random.choice(VALUES, count))


graphs = st.builds(
    lambda nodes, count, seed: (nodes, random_edges(nodes, count, seed)),
    st.integers(1, 25),
    st.integers(0, 80),
    st.integers(0, 2**32 - 1),
)


def adjacency(nodes: int, edges: Edges, threshold: float) -> np.ndarray:
    matrix = np.zeros((nodes, nodes), bool)
    keep = edges.similarity > np.float32(threshold)
    matrix[edges.first[keep], edges.second[keep]] = True
    return matrix | matrix.T


@given(graphs)
@settings(deadline=None, max_examples=200)
def test_cutting_a_maximum_spanning_forest_at_any_threshold_gives_the_components_of_the_thresholded_graph(
    brute: Callable, graph: Graph
) -> None:
    nodes, edges = graph
    forest = Forest.empty(nodes).merge(edges)
    for threshold in [-0.6, *VALUES.tolist(), 0.6]:
        expected = brute(adjacency(nodes, edges, threshold))
        np.testing.assert_array_equal(components(nodes, [forest.cut(threshold)]), expected)


@given(graphs, st.integers(1, 7))
@settings(deadline=None, max_examples=100)
def test_the_forest_of_a_union_is_the_forest_of_the_forests_however_the_edges_are_split(
    graph: Graph, parts: int
) -> None:
    nodes, edges = graph
    whole = Forest.empty(nodes).merge(edges)
    blocks = [edges.where(slice(part, None, parts)) for part in range(parts)]
    grown = Forest.grown(nodes, blocks)
    tree = Forest.grown(nodes, [Forest.empty(nodes).merge(block).edges for block in blocks])
    for forest in (grown, tree):
        for threshold in [-1, *VALUES.tolist()]:
            cuts = (components(nodes, [each.cut(threshold)]) for each in (whole, forest))
            np.testing.assert_array_equal(*cuts)
        np.testing.assert_array_equal(forest.edges.similarity, whole.edges.similarity)


@given(graphs, st.integers(0, 80), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=100)
def test_the_components_of_two_graphs_joined_are_those_of_their_forests_joined(
    brute: Callable, graph: Graph, count: int, seed: int
) -> None:
    nodes, audio = graph
    visual = random_edges(nodes, count, seed)
    forests = [Forest.empty(nodes).merge(edges) for edges in (audio, visual)]
    for one, other in [(0.25, 0.7), (0.9, -1), (0.5, 0.5)]:
        expected = brute(adjacency(nodes, audio, one) | adjacency(nodes, visual, other))
        np.testing.assert_array_equal(components(nodes, [forests[0].cut(one), forests[1].cut(other)]), expected)


@given(graphs)
@settings(deadline=None, max_examples=50)
def test_every_edge_of_a_forest_keeps_its_own_similarity_bit_for_bit(graph: Graph) -> None:
    nodes, edges = graph
    given_pairs = {
        (min(a, b), max(a, b), s)
        for a, b, s in zip(edges.first.tolist(), edges.second.tolist(), edges.similarity.tolist(), strict=True)
    }
    kept = Forest.empty(nodes).merge(edges).edges
    assert set(zip(kept.first.tolist(), kept.second.tolist(), kept.similarity.tolist(), strict=True)) <= given_pairs
    assert kept.similarity.dtype == np.float32


def test_identical_snippets_at_similarity_one_stay_joined() -> None:
    edges = Edges(np.array([0, 1]), np.array([1, 2]), np.ones(2, np.float32))
    forest = Forest.empty(3).merge(edges)
    assert len(forest.edges) == 2
    assert components(3, [forest.cut(0.999)]).tolist() == [0, 0, 0]


def test_an_edge_exactly_at_the_threshold_is_none() -> None:
    edges = Edges(np.array([0]), np.array([1]), np.array([0.7], np.float32))
    forest = Forest.empty(2).merge(edges)
    assert len(forest.cut(0.7)) == 0
    assert len(forest.cut(float(np.nextafter(np.float32(0.7), np.float32(0))))) == 1


def test_no_edges_leave_every_snippet_alone() -> None:
    assert components(4, [Forest.empty(4).cut(0)]).tolist() == [0, 1, 2, 3]
    assert components(3, []).tolist() == [0, 1, 2]


def test_a_forest_file_gives_back_the_forest_and_its_header(tmp_path: Path) -> None:
    forest = Forest.empty(30).merge(random_edges(30, 90, 1))
    forest.save(tmp_path / "forest.parquet", {"manifest": "abc"})
    loaded, header = Forest.load(tmp_path / "forest.parquet")
    assert loaded.nodes == 30
    assert header["manifest"] == "abc"
    np.testing.assert_array_equal(loaded.edges.first, forest.edges.first)
    np.testing.assert_array_equal(loaded.edges.similarity, forest.edges.similarity)


def test_a_file_of_edges_that_do_not_fall_in_similarity_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "forest.parquet"
    Forest(3, Edges(np.array([0, 1]), np.array([1, 2]), np.array([0.2, 0.9], np.float32))).save(path, {})
    with pytest.raises(Refusal, match="must fall in similarity"):
        Forest.load(path)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "forest.parquet"
    Forest.empty(30).merge(random_edges(30, 90, 1)).save(path, {})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Refusal, match="must be a parquet file"):
        Forest.load(path)
