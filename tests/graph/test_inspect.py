import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from graph import build
from graph.components import Components
from graph.corpus import HubSettings
from graph.inspect import Config, Graph, main
from graph.seal import seal
from launch.refusal import Refusal
from launch.tracking import Tracking
from shards.read import Shards
from tests.graph.finished import SETTINGS, THRESHOLD, Finished, finish, snippet_of

Write = Callable[..., Finished]


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


def test_a_hub_that_keeps_its_edges_is_told_as_such(
    written: Write, scenes: Callable[..., dict], capsys: pytest.CaptureFixture
) -> None:
    arrays = scenes(30)
    arrays["vggish"][::6] = np.abs(arrays["vggish"][0, 0])
    graph = written(arrays, hubs=HubSettings(similarity=0.999, exclude=False))
    graph.say(graph.shards.keys[6], second=2)
    said = capsys.readouterr().out
    assert re.search(
        r"audio: a hub, which keeps its edges here; nearest .* \(20 of 20 listed are above 0\.9000\)", said
    )
    assert re.search(r"visual: nearest", said)
    assert re.search(r"joint component \d+: \d+ snippets of \d+ videos", said)


def test_neighbours_that_are_hubs_without_edges_are_counted(
    written: Write, scenes: Callable[..., dict], capsys: pytest.CaptureFixture
) -> None:
    arrays = scenes(30)
    arrays["vggish"][::6] = arrays["vggish"][0, 0]
    arrays["vggish"][7] = arrays["vggish"][0, 0] * (1 + 0.06 * np.arange(32) % 0.2)  # near them, but not of them
    graph = written(arrays)
    (audio, _) = graph.sides
    assert audio.hubs[60]
    assert not audio.hubs[70]
    near = audio.neighbours.indices[70][audio.neighbours.similarities[70] > THRESHOLD]
    barred = int(audio.hubs[near].sum())
    assert barred > 0
    graph.say(graph.shards.keys[7], second=0)
    said = f"{len(near)} of 20 listed are above 0.9000, of which {barred} are hubs without edges)"
    assert said in capsys.readouterr().out


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
        ids = re.findall(r'<edge [^>]*id="([^"]*)"', (tmp_path / f"seven_{side.name}.graphml").read_text())
        assert len(set(ids)) == len(ids) == drawn.number_of_edges()
        assert len(drawn) == np.bincount(graph.ids[:, way])[graph.ids[70, way]]


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


@pytest.mark.parametrize("refine", ["none", "propagation"])
@pytest.mark.parametrize(("match", "closure"), [("any", "joint"), ("any", "per_modality"), ("all", "joint")])
def test_what_the_graph_stage_writes_can_be_looked_at(
    shard_set: Callable[..., Shards],
    scenes: Callable[..., dict],
    tmp_path: Path,
    runs: Path,
    capsys: pytest.CaptureFixture,
    match: str,
    closure: str,
    refine: str,
) -> None:
    shards = shard_set(scenes(20))
    asked = {"match": match, "closure": closure, "refine": refine, "steps": 4}
    config = build.Config(shards=shards.location, out=tmp_path / "out", tracking=Tracking(root=runs), **asked)
    build.main(config)
    capsys.readouterr()
    ids = Components.load(config.out, shards).ids.reshape(200, -1)
    sizes = [np.bincount(way) for way in ids.T]
    start = int(np.argmax(sizes[0][ids[:, 0]] > 1))
    end = int(np.flatnonzero(ids[:, 0] == ids[start, 0])[-1])
    key, to = shards.keys[start // 10], f"{shards.keys[end // 10]}@{end % 10}"
    main(Config(graph=config.out, shards=shards.location, key=key, to=to, graphml=tmp_path / "one.graphml"))
    said = capsys.readouterr().out
    assert f"{key}@9\n  audio: nearest " in said
    assert re.search(rf"tied to {to}, by .*{'in both modalities' if match == 'all' else ''}", said)
    names = ["audio", "visual"] if closure == "per_modality" else ["joint"]
    for name, way, counted in zip(names, ids.T, sizes, strict=True):
        second = start // 10 * 10
        size = counted[way[second]]
        assert re.search(rf"{name} component {way[second]}: {size if size > 1 else 'this snippet alone'}", said)
        drawn = nx.read_graphml(tmp_path / f"one{f'_{name}' if len(names) > 1 else ''}.graphml")
        assert len(drawn) == size


def test_a_drawing_never_replaces_a_file(written: Write) -> None:
    joint = written()
    seal = joint.folder / "graph.json"
    before = seal.read_bytes()
    with pytest.raises(Refusal, match=r"must be a new file, but '.*graph\.json' is there already"):
        joint.say(joint.shards.keys[0], second=0, graphml=seal)
    assert seal.read_bytes() == before
