from collections.abc import Callable
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.forests.forest import components
from graph.report.largest import bridge, largest

KEYS = [f"video{number}_0_10" for number in range(20)]


def on_circle(degrees: np.ndarray) -> np.ndarray:
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize("match", ["any", "all"])
def test_the_weakest_bridge_is_the_edge_between_two_clusters(side_of_rows: Callable, match: str) -> None:
    degrees = np.concatenate([np.arange(10) * 0.5, 15 + np.arange(10) * 0.5])  # a gap of 10.5 degrees
    close = np.cos(np.radians(12))
    audio = side_of_rows(on_circle(degrees), "audio", close)
    visual = side_of_rows(on_circle(degrees if match == "all" else np.arange(20) * 18), "visual", close)
    found = bridge(np.arange(20), [audio, visual], match, KEYS)
    assert found is not None
    assert {found.first, found.second} == {"video0_0_10@9", "video1_0_10@0"}
    assert found.parts == (10, 10)
    assert found.cosines["audio"] == pytest.approx(np.cos(np.radians(10.5)), abs=1e-3)


def test_where_both_must_match_an_edge_in_one_modality_holds_nothing(side_of_rows: Callable) -> None:
    audio = side_of_rows(on_circle(np.arange(20) * 0.5), "audio", 0.9)
    visual = side_of_rows(on_circle(np.arange(20) * 18), "visual", 0.97)
    assert bridge(np.arange(20), [audio, visual], "all", KEYS) is None
    assert bridge(np.arange(20), [audio, visual], "any", KEYS) is not None


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(["any", "all"]))
@settings(deadline=None, max_examples=40)
def test_the_bridge_is_the_last_edge_of_a_maximum_spanning_forest_of_all_edges_inside(
    side_of_rows: Callable, seed: int, split: bool, match: str
) -> None:
    random = np.random.default_rng(seed)
    sides = [side_of_rows(random.normal(size=(50, 3)), name, 0.9, k=49) for name in ("audio", "visual")]
    ids = components(50, [side.forest.cut(0.9) for side in sides])
    members = np.flatnonzero(ids == np.bincount(ids).argmax())
    members = members[: len(members) // 2 + 1] if split else members  # as refinement would leave of it
    margins = [(side.matrix.tile(members, members) - 0.9) / 0.1 for side in sides]
    margin = np.maximum.reduce(margins) if match == "any" else np.minimum.reduce(margins)
    graph = nx.Graph()
    graph.add_weighted_edges_from(
        (one, other, margin[one, other]) for one, other in np.argwhere(np.triu(margin > 0, 1))
    )
    spanning = [data["weight"] for _, _, data in nx.maximum_spanning_edges(graph, data=True)]
    found = bridge(members, sides, match, KEYS)
    assert (found is None) == (not spanning)
    if found:
        both = [(cosine - 0.9) / 0.1 for cosine in found.cosines.values()]
        assert (max(both) if match == "any" else min(both)) == pytest.approx(min(spanning), abs=1e-4)
        assert sum(found.parts) <= len(members)


def test_the_largest_components_come_with_members_medians_and_labels(side_of_rows: Callable) -> None:
    rows = on_circle(np.concatenate([np.zeros(30), np.full(20, 90), np.arange(10) * 30]))  # 3, 2 and 1 videos
    sides = [side_of_rows(rows, name) for name in ("audio", "visual")]
    ids = np.concatenate([np.zeros(30), np.ones(20), np.arange(2, 12)]).astype(np.int64)
    labels = [frozenset({"dog", "cat"}), frozenset({"dog"}), frozenset[str](), *[frozenset({"car"})] * 3]
    found = largest(ids, sides, "any", KEYS, labels, 0)
    assert [(each.snippets, each.videos) for each in found] == [(30, 3), (20, 2)]  # a single snippet is not listed
    assert found[0].labels == {"dog": 1.0, "cat": 0.5}
    assert found[0].medians == pytest.approx({"audio": 1, "visual": 1}, abs=1e-5)
    assert all(name.split("@")[0] in KEYS[:3] for name in found[0].examples)
    assert largest(ids, sides, "any", KEYS, None, 0)[0].labels == {}


def test_hubs_hold_nothing_together(side_of_rows: Callable) -> None:
    side = side_of_rows(on_circle(np.zeros(20)))
    barred = replace(side, without=np.ones(20, bool), forest=side.forest.empty(20))
    assert bridge(np.arange(20), [barred], "any", KEYS) is None
