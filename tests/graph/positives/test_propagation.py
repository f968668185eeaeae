import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from graph.positives.propagation import groups, propagated


def graph_of(pairs: np.ndarray, nodes: int, weight: int = 1) -> csr_array:
    both = np.concatenate([pairs, pairs[:, ::-1]]).T
    return csr_array((np.full(both.shape[1], weight, np.int32), tuple(both)), shape=(nodes, nodes))


def clique(members: range) -> np.ndarray:
    return np.array([(one, other) for one in members for other in members if one < other])


@pytest.mark.parametrize("seed", range(8))
def test_two_crowds_tied_by_one_edge_come_apart_and_a_crowd_stays_whole(seed: int) -> None:
    crowds = [clique(range(20)), clique(range(20, 45)), np.array([[3, 30]])]
    found = groups(graph_of(np.concatenate(crowds), 45), seed)
    assert len(np.unique(found[:20])) == len(np.unique(found[20:])) == 1
    assert found[0] != found[44]


def test_a_vote_that_counts_double_wins() -> None:
    left, right = clique(range(8)), clique(range(8, 16))
    torn = np.array([[16, 0], [16, 1], [16, 2], [16, 8], [16, 9]])  # three friends on the left, two on the right
    plain = graph_of(np.concatenate([left, right, torn]), 17)
    double = plain + graph_of(np.array([[16, 8], [16, 9]]), 17)
    assert groups(plain, 0)[16] == groups(plain, 0)[0]
    assert groups(csr_array(double), 0)[16] == groups(csr_array(double), 0)[8]


@st.composite
def graphs(draw: st.DrawFn) -> csr_array:
    nodes = draw(st.integers(1, 30))
    ends = st.integers(0, nodes - 1)
    pairs = draw(st.lists(st.tuples(ends, ends).filter(lambda pair: pair[0] < pair[1]), max_size=80, unique=True))
    return graph_of(np.array(pairs, np.int64).reshape(-1, 2), nodes)


@given(graphs(), st.integers(0, 5))
@settings(deadline=None)
def test_at_rest_every_node_has_a_label_that_most_of_its_neighbours_have(graph: csr_array, seed: int) -> None:
    label = propagated(graph, seed, sweeps=2000)
    dense = graph.toarray()
    for node in np.flatnonzero(dense.any(axis=1)):
        votes = {other: dense[node, label == other].sum() for other in np.unique(label)}
        assert votes[label[node]] == max(votes.values())


@given(graphs(), st.integers(0, 5))
@settings(deadline=None)
def test_groups_are_connected_and_inside_the_graphs_components(graph: csr_array, seed: int) -> None:
    found = groups(graph, seed)
    for group in np.unique(found):
        members = np.flatnonzero(found == group)
        assert connected_components(graph[members][:, members], directed=False)[0] == 1


@given(graphs(), st.integers(0, 3))
@settings(deadline=None)
def test_one_seed_gives_one_answer(graph: csr_array, seed: int) -> None:
    assert np.array_equal(propagated(graph, seed), propagated(graph, seed))


def test_a_graph_without_edges_leaves_everybody_alone() -> None:
    assert len(np.unique(groups(csr_array((5, 5), dtype=np.int32), 0))) == 5
    assert len(groups(csr_array((0, 0), dtype=np.int32), 0)) == 0


def test_two_who_only_have_each_other_do_not_swap_for_ever() -> None:
    for seed in range(20):
        assert len(np.unique(propagated(graph_of(np.array([[0, 1]]), 2), seed, sweeps=200))) == 1


def test_elections_stop_at_the_bound() -> None:
    ring = np.stack([np.arange(60), (np.arange(60) + 1) % 60], axis=1)
    once = propagated(graph_of(ring, 60), 0, sweeps=1)
    assert np.array_equal(once, propagated(graph_of(ring, 60), 0, sweeps=1))
    assert not np.array_equal(once, propagated(graph_of(ring, 60), 0))
    assert len(np.unique(propagated(graph_of(ring, 60), 0, sweeps=0))) == 60


def test_those_who_are_not_free_keep_what_they_start_with_and_the_others_follow_them() -> None:
    start = np.array([0, 1, 1, 3, 4])
    graph = graph_of(np.array([[0, 1], [0, 2], [3, 1], [3, 2], [3, 0]]), 5)  # 0's friends are both of the other camp
    label = propagated(graph, 0, start, np.array([False, False, False, True, True]))
    assert label[0] != label[1] == label[2] == label[3]
    assert label[4] not in label[:4]
    assert propagated(graph, 0, start)[0] == propagated(graph, 0, start)[1]  # were it free, it would go over
