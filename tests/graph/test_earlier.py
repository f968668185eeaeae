"""A graph that builds on an earlier one is the graph that is built at once."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph.build import Config, main
from graph.components import Components
from graph.corpus import Earlier, HubSettings, build_corpus
from graph.forests.forest import components
from graph.rows.write import write_matrices
from graph.search import blocks, search
from graph.search.search import Engine, SearchSettings
from launch.refusal import Refusal
from launch.tracking import Tracking
from shards.read import Shards
from shards.schema import Feature, Video
from shards.write import Writer

Rows = Mapping[str, np.ndarray]
VIDEOS = 60


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "WIDTH", 64)
    monkeypatch.setattr(blocks, "GROUP", 2)


@pytest.fixture
def rows(scenes: Callable[..., dict[str, np.ndarray]]) -> Rows:
    """Videos of some scenes, silence that ever more of them share, and copies of old videos among the new."""
    arrays = scenes(VIDEOS, kinds=20)
    for video in range(0, VIDEOS, 5):
        arrays["vggish"][video, 2:4] = arrays["vggish"][0, 0]
    arrays["resnet152"][50:53] = arrays["resnet152"][7]
    return arrays


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Shards]:
    """Writes some of the videos, in the given order, as a shard set."""

    def write(name: str, rows: Rows, videos: list[int]) -> Shards:
        features = [Feature(key, values.shape[2], "", "test", "float16") for key, values in rows.items()]
        with Writer(tmp_path / name, features, {"test": name}, videos_per_shard=7) as writer:
            for video in videos:
                writer.add(Video(f"video{video:04d}_0_10", {key: values[video] for key, values in rows.items()}))
        return Shards.open(tmp_path / name)

    return write


@pytest.fixture
def build(tmp_path: Path, runs: Path) -> Callable[..., Path]:
    def build(name: str, shards: Shards, **settings: Any) -> Path:
        defaults = {"threshold_audio": 0.95, "search": {"k": 8, "batch": 64}, "steps": 8}
        chosen = defaults | settings | {"shards": shards.location, "out": tmp_path / name}
        main(Config.model_validate(chosen | {"tracking": Tracking(root=runs)}))
        return tmp_path / name

    return build


def interleaved() -> tuple[list[int], list[int]]:
    """The videos of an earlier set, and a new order in which they stand between new ones."""
    order = np.random.default_rng(0).permutation(VIDEOS).tolist()
    return [video for video in range(VIDEOS) if video % 5 < 3], order


@pytest.mark.parametrize("engine", ["blocks", "faiss"])
@pytest.mark.parametrize("centre", [False, True])
def test_new_videos_give_the_modality_of_all(
    rows: Rows, write: Callable[..., Shards], tmp_path: Path, engine: Engine, centre: bool
) -> None:
    """With centred rows the earlier mean is kept, so the whole is built with that mean as well."""
    old, order = interleaved()
    search = SearchSettings(k=8, batch=64, engine=engine)
    first = write_matrices(write("old", rows, old), ["vggish"], tmp_path / "first")["vggish"]
    matrix = write_matrices(write("all", rows, order), ["vggish"], tmp_path / "then")["vggish"]
    if centre:
        first = first.centred()
        matrix = matrix.centred(first.mean)
    assert not centre or np.array_equal(matrix.mean, first.mean)
    lists = build_corpus("audio", first, 0.6, search, HubSettings()).neighbours
    place = (np.array([order.index(video) for video in old])[:, None] * 10 + np.arange(10)).ravel()
    whole = build_corpus("audio", matrix, 0.6, search, HubSettings())
    grown = build_corpus("audio", matrix, 0.6, search, HubSettings(), earlier=Earlier(lists, place, exact=True))
    for level in np.linspace(0.605, 0.995, 14).tolist():
        one, other = (components(len(matrix), [side.forest.cut(level)]) for side in (whole, grown))
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(whole.neighbours.similarities, grown.neighbours.similarities, atol=1e-6)
    np.testing.assert_array_equal(whole.hubs, grown.hubs)
    assert whole.copies == grown.copies
    assert 0 < whole.hubs.sum() < len(matrix)


def test_the_stage_builds_on_a_graph_of_some_of_the_videos(
    rows: Rows, write: Callable[..., Shards], build: Callable[..., Path], capsys: pytest.CaptureFixture
) -> None:
    old, order = interleaved()
    base, shards = build("base", write("old", rows, old)), write("all", rows, order)
    centred = {"rows": {"centre": True}}
    build(
        "centred_now",
        shards,
        base=build("centred", write("less", rows, old[:9]), **centred),
        **centred,
    )
    assert "less the earlier graph's mean" in capsys.readouterr().out
    grown, at_once = build("grown", shards, base=base), build("at_once", shards)
    np.testing.assert_array_equal(Components.load(at_once, shards).ids, Components.load(grown, shards).ids)


def test_only_what_is_new_is_compared(
    rows: Rows, write: Callable[..., Shards], build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, order = interleaved()
    base, shards = build("base", write("old", rows, old)), write("all", rows, order)
    compared: list[int] = []
    tasks = search.tasks
    monkeypatch.setattr(search, "tasks", lambda count, since=0: compared.append(since) or tasks(count, since))
    build("grown", shards, base=base)
    assert all(since > 250 for since in compared)
    compared.clear()
    build("again", shards, base=build("whole", shards), threshold_audio=0.9)
    assert min(compared[-2:]) > 400


def test_an_earlier_graph_of_videos_that_are_gone_is_refused(
    rows: Rows, write: Callable[..., Shards], build: Callable[..., Path]
) -> None:
    base = build("base", write("old", rows, list(range(20))))
    with pytest.raises(Refusal, match=r"1 of 20 are not, 'video0003_0_10' for one: build without base"):
        build("grown", write("all", rows, [video for video in range(30) if video != 3]), base=base)


def test_a_video_whose_rows_changed_is_refused_by_key_and_second(
    rows: Rows, write: Callable[..., Shards], build: Callable[..., Path]
) -> None:
    base = build("base", write("old", rows, list(range(20))))
    changed = {name: values.copy() for name, values in rows.items()}
    changed["resnet152"][4, 6] += 1
    with pytest.raises(Refusal, match=r"'resnet152' of 'video0004_0_10' changed in second 6 \(1 rows"):
        build("grown", write("all", changed, list(range(30))), base=base)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"floor_audio": 0.7}, "floor_audio"), ({"search": {"k": 9}}, "search.k"), ({"rows": {"seed": 1}}, "rows")],
)
def test_other_settings_than_the_earlier_graphs_are_refused(
    rows: Rows, write: Callable[..., Shards], build: Callable[..., Path], settings: dict[str, Any], named: str
) -> None:
    shards = write("old", rows, list(range(20)))
    base = build("base", shards)
    with pytest.raises(Refusal, match=rf"but {re.escape(named)} differ from"):
        build("grown", shards, base=base, **settings)


def test_a_folder_that_is_no_graph_cannot_be_built_on(
    rows: Rows, write: Callable[..., Shards], build: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(Refusal, match=r"must hold graph\.json"):
        build("grown", write("old", rows, list(range(20))), base=tmp_path)
