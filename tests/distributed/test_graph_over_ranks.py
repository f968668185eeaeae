"""The graph stage on several real processes gives the graph of one."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graph.build import Config, main
from graph.components import Components
from graph.forests.forest import Forest, components
from graph.search.neighbours import Neighbours
from shards.read import Shards
from shards.schema import SECONDS, Feature, Video
from shards.write import Writer

WORKER = Path(__file__).with_name("graph_worker.py")
VIDEOS = 120
THRESHOLDS = np.linspace(0.805, 0.995, 14)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """A corpus with scenes, copies, a silence that many videos share, and bridges."""
    folder, random = tmp_path_factory.mktemp("ranks") / "shards", np.random.default_rng(0)
    scene, sound = random.integers(9, size=VIDEOS), random.integers(9, size=VIDEOS)
    rows = {}
    for name, width, which in (("vggish", 24, sound), ("resnet152", 40, scene)):
        base = random.normal(size=(9, width))[which] + 0.5 * random.normal(size=(VIDEOS, width))
        rows[name] = base[:, None] + 0.25 * random.normal(size=(VIDEOS, SECONDS, width))
    rows["vggish"][::7, 3:6] = rows["vggish"][0, 0]
    rows["resnet152"][40:44] = rows["resnet152"][50]
    rows["resnet152"][9, 2] = 0
    features = [Feature(name, values.shape[2], "", "test", "float16") for name, values in rows.items()]
    with Writer(folder, features, {"test": "ranks"}, videos_per_shard=50) as writer:
        for video in range(VIDEOS):
            writer.add(Video(f"video{video:04d}_0_10", {name: values[video] for name, values in rows.items()}))
    return Shards.open(folder)


@pytest.fixture(scope="module")
def settings(shards: Shards) -> dict[str, object]:
    return {"shards": str(shards.location), "search": {"k": 8, "batch": 100}, "threshold_audio": 0.9}


@pytest.fixture(scope="module")
def alone(settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph that one process builds."""
    folder = tmp_path_factory.mktemp("alone")
    main(Config.model_validate(settings | {"out": folder / "graph", "tracking": {"root": folder / "runs"}}))
    return folder / "graph"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("size", "engine"), [(2, "blocks"), (3, "blocks"), (4, "blocks"), (2, "faiss")])
def test_ranks_build_the_graph_that_one_process_builds(
    start_ranks: Callable[..., None],
    settings: dict[str, object],
    shards: Shards,
    alone: Path,
    tmp_path: Path,
    size: int,
    engine: str,
) -> None:
    chosen = settings | {"out": str(tmp_path / "graph"), "tracking": {"root": str(tmp_path / "runs")}}
    chosen |= {"search": {"k": 8, "batch": 100, "engine": engine}}
    (tmp_path / "config.json").write_text(json.dumps(chosen))
    start_ranks(size, WORKER, tmp_path / "config.json")
    for name in ("audio", "visual"):
        one, other = (Forest.load(folder / f"forest_{name}.parquet")[0] for folder in (alone, tmp_path / "graph"))
        clear = [each for each in THRESHOLDS.tolist() if np.abs(one.edges.similarity - each).min() > 1e-5]
        assert len(clear) > 8
        for threshold in clear:
            np.testing.assert_array_equal(
                components(one.nodes, [one.cut(threshold)]), components(other.nodes, [other.cut(threshold)])
            )
        lists = [Neighbours.load(folder / f"neighbours_{name}.safetensors") for folder in (alone, tmp_path / "graph")]
        np.testing.assert_allclose(lists[0].similarities, lists[1].similarities, atol=1e-6)
    mine, theirs = (Components.load(folder, shards) for folder in (alone, tmp_path / "graph"))
    np.testing.assert_array_equal(mine.ids, theirs.ids)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "graph", "runs"}
