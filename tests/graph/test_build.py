import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from graph.audit import Audit
from graph.build import Config, main
from graph.components import Components
from graph.corpus import HubSettings
from graph.forests.forest import Forest, components
from graph.groups import GROUPS, group_of_videos
from graph.positives.thresholds import ThresholdSettings
from graph.rows.write import RowSettings
from graph.seal import sealed
from graph.search.search import SearchSettings
from launch.refusal import Refusal
from launch.tracking import Tracking
from shards.groups import Groups
from shards.read import ReadSettings, Shards
from tests.shards.servers import web

KEPT_HUBS = HubSettings(exclude=False)
Scenes = Callable[..., dict[str, np.ndarray]]
Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path, runs: Path) -> Build:
    """Runs the stage on a shard set with settings that suit small corpora; returns the graph's folder."""

    def run(shards: Shards, **settings: Any) -> Path:
        defaults: dict[str, Any] = {
            "threshold_audio": 0.9,
            "threshold_visual": 0.9,
            "refine": "none",
            "steps": 8,
            "search": SearchSettings(k=8),
            "out": tmp_path / "graph",
        }
        defaults["tracking"] = Tracking(root=runs)
        config = Config(shards=shards.location, **(defaults | settings))
        main(config)
        return config.out

    return run


def cosines(shards: Shards, feature: str) -> np.ndarray:
    read = shards.batch(range(len(shards)), [feature]).features[feature]
    rows = read.astype(np.float32).reshape(len(shards) * 10, -1)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return rows @ rows.T


def test_the_stage_gives_the_brute_force_components_and_files_that_belong_together(
    brute: Callable, shard_set: Callable[..., Shards], scenes: Scenes, build: Build, capsys: pytest.CaptureFixture
) -> None:
    shards = shard_set(scenes(40))
    folder = build(shards, hubs=KEPT_HUBS)
    loaded = Components.load(folder, shards)
    adjacent = (cosines(shards, "vggish") > 0.9) | (cosines(shards, "resnet152") > 0.9)
    np.testing.assert_array_equal(loaded.ids[..., 0].ravel(), brute(adjacent))
    forests = []
    for name in ("audio", "visual"):
        facts, path = sealed(folder, f"forest_{name}.parquet", shards)
        forest, header = Forest.load(path)
        assert header["manifest"] == shards.manifest.digest == facts["manifest"]
        forests.append(forest)
    cuts = [forest.cut(0.9) for forest in forests]
    np.testing.assert_array_equal(components(400, cuts), loaded.ids[..., 0].ravel())
    found = json.loads((folder / "report.json").read_text())
    (seal, _), (audit,) = sealed(folder, "report.json", shards), found["checked"]
    assert seal["chosen"]["components"] == loaded.ids.max() + 1
    assert f"every pair of 400 snippets ({int(np.triu(adjacent, 1).sum()):,} edges" in audit
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "Read 40 videos (400 snippets)" in said
    assert "brute force and networkx agree" in said
    assert f"to {folder}" in said


def test_the_groups_of_the_videos_are_sealed_with_the_graph(
    shard_set: Callable[..., Shards], scenes: Scenes, build: Build
) -> None:
    shards = shard_set(scenes(40))
    folder = build(shards, hubs=KEPT_HUBS)
    _, path = sealed(folder, GROUPS, shards)
    groups = Groups.read(path, len(shards), per_group=2)
    assert groups.ids.tolist() == group_of_videos(Components.load(folder, shards).ids).tolist()
    assert len(set(groups.ids.tolist()) - {-1}) > 1


def test_the_run_keeps_the_report_and_the_limits_are_those_asked_for(
    shard_set: Callable[..., Shards], scenes: Scenes, build: Build, tmp_path: Path
) -> None:
    tracking = Tracking(root=tmp_path / "runs")
    folder = build(shard_set(scenes(12)), tracking=tracking, choice=ThresholdSettings(pi0=0.035, largest=0.2))
    assert json.loads((folder / "report.json").read_text())["limits"]["pi0"] == 0.035
    client = MlflowClient(tracking.store)
    experiment = client.get_experiment_by_name("soundsight")
    (run,) = client.search_runs([experiment.experiment_id])
    kept = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "report.png", "report.json", "graph.json", "summary.txt"} <= kept
    assert (
        run.data.metrics["components"] == Components.load(folder, Shards.open(run.data.params["shards"])).ids.max() + 1
    )


def test_a_graph_of_a_set_below_a_url_fetches_every_shard_once(
    shard_set: Callable[..., Shards], scenes: Scenes, build: Build, tmp_path: Path
) -> None:
    local = shard_set(scenes(40))
    with web(tmp_path) as server:
        reading = ReadSettings(cache=tmp_path / "cache")
        build(Shards.open(f"{server.url}/shards", reading), hubs=KEPT_HUBS, reading=reading)
        fetched = server.starts()
    assert [fetched[f"/shards/{shard.file}"] for shard in local.manifest.shards] == [1] * 6


def test_a_component_that_swallows_the_corpus_is_warned_of_with_the_remedy(
    shard_set: Callable[..., Shards], scenes: Scenes, build: Build, capsys: pytest.CaptureFixture
) -> None:
    build(shard_set(scenes(30, kinds=1)), hubs=KEPT_HUBS, threshold_audio=0.8, threshold_visual=0.8)
    said = capsys.readouterr().out
    assert re.search(r"WARNING: The largest joint component of several videos holds .* raise a threshold", said)


def test_a_component_of_one_videos_own_seconds_is_no_chain(
    shard_set: Callable[..., Shards], build: Build, capsys: pytest.CaptureFixture
) -> None:
    still = np.repeat(np.random.default_rng(0).normal(size=(12, 1, 300)), 10, axis=1)
    folder = build(shard_set({"vggish": still, "resnet152": still}), search=SearchSettings(k=16))
    found = json.loads((folder / "graph.json").read_text())["chosen"]
    assert (found["components"], found["largest_share"]) == (12, 10 / 120)
    assert found["chained_share"] == 0
    assert "component of several videos holds" not in capsys.readouterr().out.partition("WARNING")[2]


def test_a_graph_that_brute_force_contradicts_is_not_written(
    shard_set: Callable[..., Shards], scenes: Scenes, build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = Audit("joint", True, 400, 7, 9, wrongly_apart=1, wrongly_joined=0)
    monkeypatch.setattr("graph.audit.audit", lambda *_: found)
    with pytest.raises(RuntimeError, match=r"brute force and networkx DISAGREE .*fault of the program"):
        build(shard_set(scenes(40)))
    assert not (tmp_path / "graph").exists()


@pytest.mark.parametrize(
    ("settings", "loops"),
    [
        ({}, ("vggish pairs.*", "audio forest", "threshold grid")),
        ({"match": "all"}, ("both, listed in audio", "both, listed in visual", "both saturated")),
    ],
)
def test_every_long_loop_tells_how_far_it_is(
    shard_set: Callable[..., Shards],
    scenes: Scenes,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    settings: dict[str, Any],
    loops: tuple[str, ...],
) -> None:
    monkeypatch.setattr("launch.progress.QUIET_SECONDS", 0)
    build(shard_set(scenes(30)), hubs=KEPT_HUBS, **settings)
    said = capsys.readouterr().out
    for loop in loops:
        assert re.search(rf"^{loop}: \d+/\d+", said, re.MULTILINE)


@pytest.mark.parametrize("scope", ["corpus", "video"])
def test_all_and_video_are_settings(
    brute: Callable, shard_set: Callable[..., Shards], scenes: Scenes, build: Build, scope: str
) -> None:
    shards = shard_set(scenes(30))
    folder = build(shards, hubs=KEPT_HUBS, match="all", scope=scope)
    adjacent = (cosines(shards, "vggish") > 0.9) & (cosines(shards, "resnet152") > 0.9)
    if scope == "video":
        adjacent &= np.arange(300) // 10 == np.arange(300)[:, None] // 10
    np.testing.assert_array_equal(Components.load(folder, shards).ids.ravel(), brute(adjacent))
    assert json.loads((folder / "report.json").read_text())["grid"] is None


def test_silence_is_excluded_counted_and_named(
    shard_set: Callable[..., Shards], scenes: Scenes, build: Build, capsys: pytest.CaptureFixture
) -> None:
    arrays = scenes(40)
    arrays["vggish"][::8] = np.abs(arrays["vggish"][0, 0])  # fifty identical snippets from five videos
    arrays["resnet152"][3, 4] = 0
    folder = build(shard_set(arrays))
    found = json.loads((folder / "report.json").read_text())
    assert found["audio"]["hubs"] >= 50
    assert "video0008_0_10@3" in found["audio"]["hubs_named"]
    assert found["visual"]["zero_rows"] == 1
    assert "1 all-zero rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [{"rows": RowSettings(centre=True), "hubs": HubSettings(similarity=1)}, {"match": "all", "hubs": KEPT_HUBS}],
)
def test_what_is_absent_joins_nothing(
    shard_set: Callable[..., Shards], scenes: Scenes, build: Build, options: dict[str, Any]
) -> None:
    arrays = scenes(40)
    arrays["present"] = np.ones((40, 10, 2))
    arrays["vggish"][:20] = arrays["present"][:20, :, 0] = 0
    arrays["resnet152"][30:, :5] = arrays["present"][30:, :5, 1] = 0
    shards = shard_set(arrays)
    folder = build(shards, **options)
    for name, absent in zip(("audio", "visual"), arrays["present"].reshape(400, 2).T == 0, strict=True):
        forest, _ = Forest.load(folder / f"forest_{name}.parquet")
        assert len(forest.edges.first) > 10
        assert not absent[forest.edges.first].any()
        assert not absent[forest.edges.second].any()
    found = json.loads((folder / "report.json").read_text())
    assert (found["audio"]["zero_rows"], found["visual"]["zero_rows"]) == (200, 50)
    assert bool(found["audio"]["hubs"]) == (options["hubs"] == KEPT_HUBS)
    assert all(name >= "video0020" for name in found["audio"]["hubs_named"])
    assert "NaN" not in (folder / "report.json").read_text()


def test_all_snippets_identical_are_refused_as_hubs(
    shard_set: Callable[..., Shards], build: Build, tmp_path: Path
) -> None:
    same = {"vggish": np.ones((5, 10, 4)), "resnet152": np.ones((5, 10, 4))}
    with pytest.raises(Refusal, match=r"50 of 50 snippets hubs.*hubs\.exclude"):
        build(shard_set(same))
    assert not (tmp_path / "graph").exists()


def test_all_snippets_identical_are_one_component_when_hubs_may_stay(
    shard_set: Callable[..., Shards], build: Build
) -> None:
    shards = shard_set({"vggish": np.ones((5, 10, 4)), "resnet152": np.ones((5, 10, 4))})
    assert Components.load(build(shards, hubs=KEPT_HUBS), shards).ids.max() == 0


def test_no_edge_at_all_is_refused_with_the_highest_similarity(
    shard_set: Callable[..., Shards], build: Build, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    shards = shard_set({name: random.normal(size=(3, 10, 300)) for name in ("vggish", "resnet152")})
    with pytest.raises(Refusal, match=r"at least one edge.*audio 0\.9 \(highest similarity 0\.\d+"):
        build(shards, floor_audio=0.01, floor_visual=0.01)
    assert not (tmp_path / "graph").exists()


def test_a_corpus_of_two_kinds_gets_its_highest_linking_thresholds_with_a_warning(
    shard_set: Callable[..., Shards], build: Build, capsys: pytest.CaptureFixture
) -> None:
    """Each kind holds more than a twentieth of the snippets, whatever the threshold that links videos."""
    random, kind = np.random.default_rng(0), np.arange(300).reshape(30, 10) % 3 == 0
    arrays = {
        name: np.where(kind[..., None], *random.normal(size=(2, 8))) + random.normal(0, 1e-3, (30, 10, 8))
        for name in ("vggish", "resnet152")
    }
    shards = shard_set(arrays)
    folder = build(shards, hubs=KEPT_HUBS, threshold_audio="auto", threshold_visual="auto", refine="propagation")
    assert Components.load(folder, shards).ids.max() > 0
    assert re.search(
        r"WARNING: No audio threshold that links two videos keeps .* is taken, which links 100", capsys.readouterr().out
    )


def test_one_video_is_refused(shard_set: Callable[..., Shards], scenes: Scenes, build: Build) -> None:
    with pytest.raises(Refusal, match="needs at least two"):
        build(shard_set(scenes(1)), search=SearchSettings(k=3))


def test_more_neighbours_than_snippets_are_refused_before_any_work(
    shard_set: Callable[..., Shards], scenes: Scenes, build: Build, tmp_path: Path
) -> None:
    with pytest.raises(Refusal, match="k is 32 and the shards hold 30 snippets"):
        build(shard_set(scenes(3)), search=SearchSettings(k=32))
    assert not (tmp_path / "runs").exists()


def test_a_threshold_below_the_floor_is_refused() -> None:
    with pytest.raises(
        Refusal, match=r"threshold_visual must be auto, or lie between floor_visual.*0\.7 is not in 0\.8 to"
    ):
        Config(shards=Path("s"), out=Path("o"), threshold_audio=0.9, threshold_visual=0.7)


def test_a_graph_that_is_there_already_is_not_overwritten(
    shard_set: Callable[..., Shards], scenes: Scenes, build: Build
) -> None:
    shards = shard_set(scenes(12))
    build(shards)
    with pytest.raises(Refusal, match="new or empty"):
        build(shards)
    build(shards, replace=True)


def test_an_altered_forest_is_refused(shard_set: Callable[..., Shards], scenes: Scenes, build: Build) -> None:
    shards = shard_set(scenes(12))
    folder = build(shards)
    path = folder / "forest_visual.parquet"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refusal, match="was altered"):
        sealed(folder, path.name, shards)
