import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from graph import build
from graph.components import Components
from graph.inspect import Config, Graph, main
from graph.seal import seal
from launch.refusal import Refusal
from launch.tracking import Tracking
from shards.read import Shards
from tests.graph.finished import SETTINGS, THRESHOLD, Finished, finish

Write = Callable[..., Finished]


def snippet_of(name: str) -> int:
    """The snippet of `video0012_0_10@3`."""
    return int(name[5:9]) * 10 + int(name[-1])


@pytest.fixture
def written(shard_set: Callable[..., Shards], scenes: Callable[..., dict], tmp_path: Path) -> Write:
    """Writes a graph folder of thirty videos, or of the arrays given."""

    def write(arrays: dict | None = None, **settings: Any) -> Finished:
        return finish(shard_set(arrays or scenes(30)), tmp_path, **settings)

    return write


def test_every_link_of_a_chain_is_a_similarity_above_its_threshold_and_the_chain_ends_at_the_target(
    written: Write, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.inspect.SHOWN", 1000)
    graph = written()
    members = np.flatnonzero(graph.ids[:, 0] == np.bincount(graph.ids[:, 0]).argmax())
    start, end = graph.shards.keys[members[0] // 10], graph.name(members[-1])
    graph.say(start, second=int(members[0] % 10), to=end)
    links = re.findall(r"^      (audio|visual) (\S+) → (\S+)", capsys.readouterr().out, re.MULTILINE)
    here = int(members[0])
    for modality, similarity, name in links:
        assert float(similarity) == pytest.approx(graph.cosine(modality, here, snippet_of(name)), abs=1e-4)
        assert float(similarity) > THRESHOLD - 1e-4
        here = snippet_of(name)
    assert here == members[-1]


def test_chains_are_the_shortest_in_the_forests_and_exist_inside_components_only(written: Write) -> None:
    graph = written()
    (way,) = Graph.load(graph.folder, graph.shards).ways
    joined = nx.Graph()
    for side in graph.sides:
        cut = side.forest.cut(THRESHOLD)
        joined.add_edges_from(zip(cut.first.tolist(), cut.second.tolist(), strict=True))
    random = np.random.default_rng(0)
    seen = set()
    for one, other in random.integers(0, len(graph.ids), (60, 2)).tolist():
        chain = way.ties.chain(one, other)
        seen.add(chain is None)
        assert (chain is None) == (graph.ids[one, 0] != graph.ids[other, 0])
        if chain:
            assert len(chain) == nx.shortest_path_length(joined, one, other)
            assert chain[-1].to == other
    assert seen == {True, False}


def test_chains_of_pairs_similar_in_both_tell_the_smaller_margin(
    written: Write, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.inspect.SHOWN", 1000)
    graph = written(match="all")
    members = np.flatnonzero(graph.ids[:, 0] == np.bincount(graph.ids[:, 0]).argmax())
    start, end = graph.shards.keys[members[0] // 10], graph.name(members[-1])
    graph.say(start, second=int(members[0] % 10), to=end, graphml=tmp_path / "both.graphml")
    here = int(members[0])
    for margin, name in re.findall(r"^      both (\S+) → (\S+)", capsys.readouterr().out, re.MULTILINE):
        cosines = [graph.cosine(modality, here, snippet_of(name)) for modality in ("audio", "visual")]
        assert float(margin) == pytest.approx(min(cosines) - THRESHOLD, abs=1e-4)
        here = snippet_of(name)
    assert here == members[-1]
    assert len(nx.read_graphml(tmp_path / "both.graphml")) == len(members)


def test_a_graph_of_pairs_similar_in_both_without_their_forest_is_refused(written: Write) -> None:
    graph = written(match="all")
    (graph.folder / "forest_both.parquet").unlink()
    seal(graph.folder, {"manifest": graph.shards.manifest.digest, "settings": SETTINGS})
    with pytest.raises(Refusal, match=r"no forest_both\.parquet"):
        graph.say("video0001_0_10")


def test_the_weakest_link_is_marked_even_where_a_long_chain_is_cut_short(
    written: Write, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.inspect.SHOWN", 2)
    graph = written()
    (way,) = Graph.load(graph.folder, graph.shards).ways
    chains = [way.ties.chain(0, other) or [] for other in np.flatnonzero(graph.ids[:, 0] == graph.ids[0, 0]).tolist()]
    chain = max(chains, key=len)
    assert len(chain) > 4
    end = chain[-1].to
    graph.say(graph.shards.keys[0], second=0, to=graph.name(end))
    said = capsys.readouterr().out
    marked = re.findall(r"→ (\S+)  ← the weakest, (\S+) above", said)
    margins = [link.margin for link in chain]
    weakest = chain[int(np.argmin(margins))].to
    assert marked == [(graph.name(weakest), f"{min(margins):.4f}")]
    assert re.search(r"… \d+ more …", said)


def test_the_nearest_are_those_of_brute_force(written: Write, capsys: pytest.CaptureFixture) -> None:
    graph = written()
    graph.say(graph.shards.keys[3], second=4, nearest=3)
    said = capsys.readouterr().out
    for side in graph.sides:
        cosines = side.matrix.tile(np.array([34]), np.arange(300))[0]
        cosines[34] = -1
        best = np.argsort(-cosines)[:3]
        named = ", ".join(f"{graph.name(n)} {cosines[n]:.4f}" for n in best)
        assert f"  {side.name}: nearest {named}" in said
        elsewhere = cosines.copy()
        elsewhere[30:40] = -1
        if elsewhere.max() < cosines[best[-1]]:
            (line,) = re.findall(f"{side.name}: nearest .*", said)
            assert f", in another video {graph.name(int(elsewhere.argmax()))} {elsewhere.max():.4f} (" in line


def test_hubs_and_rows_that_are_all_zero_are_told(
    written: Write, scenes: Callable[..., dict], capsys: pytest.CaptureFixture
) -> None:
    arrays = scenes(30)
    arrays["vggish"][::6] = np.abs(arrays["vggish"][0, 0])
    arrays["resnet152"][6, 2] = 0
    graph = written(arrays)
    graph.say(graph.shards.keys[6], second=2)
    said = capsys.readouterr().out
    assert "audio: a hub, so it has no edges here; nearest" in said
    assert "visual: the row is all zero, so it has no edges here" in said
    assert re.search(r"joint component \d+: this snippet alone", said)


def test_what_refinement_split_off_is_told_with_the_chain_that_the_edges_have(
    written: Write, capsys: pytest.CaptureFixture
) -> None:
    graph = written(split=True)
    (way,) = Graph.load(graph.folder, graph.shards).ways
    apart = (way.ties.literal == way.ties.literal[0]) & (graph.ids[:, 0] != graph.ids[0, 0])
    end = int(np.flatnonzero(apart)[0])
    graph.say(graph.shards.keys[0], second=0, to=graph.name(end))
    said = capsys.readouterr().out
    whole = int((way.ties.literal == way.ties.literal[0]).sum())
    assert f"split off by refinement: the edges hold {whole} snippets together" in said
    assert "though refinement put the two into different components" in said
    assert "(of another component since refinement)" in said


def test_all_seconds_are_shown_with_their_components_and_best_connected_snippets(
    written: Write, capsys: pytest.CaptureFixture
) -> None:
    graph = written()
    graph.say(graph.shards.keys[7])
    said = capsys.readouterr().out
    sizes = np.bincount(graph.ids[:, 0])
    shown = re.findall(r"joint component (\d+): (\d+) ", said)
    assert shown == [(str(n), str(sizes[n])) for n in graph.ids[70:80, 0] if sizes[n] > 1]
    assert len(re.findall("best connected snippet", said)) == len(shown)


def test_two_ways_have_a_component_and_a_drawing_each(
    written: Write, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    graph = written(closure="per_modality")
    graph.say(graph.shards.keys[7], second=0, graphml=tmp_path / "seven.graphml")
    said = capsys.readouterr().out
    for way, side in enumerate(graph.sides):
        assert f"{side.name} component {graph.ids[70, way]}:" in said
        drawn = nx.read_graphml(tmp_path / f"seven_{side.name}.graphml")
        assert len(drawn) == np.bincount(graph.ids[:, way])[graph.ids[70, way]]


def test_a_drawing_holds_the_component_its_listed_edges_and_their_similarities(written: Write, tmp_path: Path) -> None:
    graph = written()
    graph.say(graph.shards.keys[0], second=0, graphml=tmp_path / "one.graphml")
    drawn = nx.read_graphml(tmp_path / "one.graphml")
    members = set(np.flatnonzero(graph.ids[:, 0] == graph.ids[0, 0]).tolist())
    assert {snippet_of(name) for name in drawn} == members
    assert all(name == f"{about['key']}@{about['second']}" for name, about in drawn.nodes(data=True))
    assert nx.is_connected(nx.Graph(drawn))
    assert drawn.number_of_edges() > len(members)
    pairs = set()
    for one, other, about in drawn.edges(data=True):
        ends = snippet_of(one), snippet_of(other)
        assert about["similarity"] == pytest.approx(graph.cosine(about["modality"], *ends), abs=1e-5)
        assert about["similarity"] > THRESHOLD
        pairs.add((about["modality"], *sorted(ends)))
    assert len(pairs) == drawn.number_of_edges()


def test_an_unknown_key_is_refused_with_the_nearest(written: Write) -> None:
    with pytest.raises(Refusal, match=r"'vide0007_0_10' is not: did you mean .*'video0007_0_10'"):
        written().say("vide0007_0_10")


@pytest.mark.parametrize("name", ["video0007_0_10", "video0007_0_10@10", "@3"])
def test_a_target_that_is_no_snippet_is_refused(written: Write, name: str) -> None:
    with pytest.raises(Refusal, match=r"must be named key@second .*video0000_0_10@3"):
        written().say("video0001_0_10", to=name)


@pytest.mark.parametrize("file", ["forest_visual.parquet", "neighbours_audio.safetensors"])
def test_an_altered_file_is_refused(written: Write, file: str) -> None:
    graph = written()
    content = bytearray((graph.folder / file).read_bytes())
    content[-5] ^= 1
    (graph.folder / file).write_bytes(content)
    with pytest.raises(Refusal, match=f"{file}' is missing or was altered"):
        graph.say("video0001_0_10")


def test_what_the_graph_stage_writes_can_be_looked_at(
    shard_set: Callable[..., Shards], scenes: Callable[..., dict], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shards = shard_set(scenes(20))
    config = build.Config(shards=shards.location, out=tmp_path / "out", tracking=Tracking(root=tmp_path / "runs"))
    build.main(config)
    main(Config(graph=config.out, shards=shards.location, key=shards.keys[4], graphml=tmp_path / "four.graphml"))
    sizes = np.bincount(Components.load(config.out, shards).ids.ravel())
    said = capsys.readouterr().out
    assert f"{shards.keys[4]}@9\n  audio: " in said
    assert f"{sizes[Components.load(config.out, shards).ids[4, 0, 0]]} snippets, " in said
