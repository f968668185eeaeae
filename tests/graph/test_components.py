import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graph.components import FILE, SEAL, Components, seal
from launch.refusal import Refusal
from shards.read import Shards

Built = tuple[Path, Shards, Components]


@pytest.fixture
def built(shard_set: Callable[..., Shards], tmp_path: Path) -> Built:
    shards = shard_set({"vggish": np.ones((4, 10, 3))})
    ids = np.arange(40).reshape(4, 10) // 3
    components = Components(ids, shards.keys, shards.manifest.digest, {"audio": 0.9, "visual": 0.8}, "any", "corpus")
    folder = tmp_path / "graph"
    folder.mkdir()
    components.save(folder)
    (folder / "forest_audio.safetensors").write_bytes(b"anything")
    seal(folder, {"manifest": shards.manifest.digest})
    return folder, shards, components


def test_components_come_back_as_they_were_written(built: Built) -> None:
    folder, shards, components = built
    loaded = Components.load(folder, shards)
    np.testing.assert_array_equal(loaded.ids, components.ids)
    assert loaded.ids.dtype == np.int64
    assert (loaded.keys, loaded.manifest_digest, loaded.match, loaded.scope) == (
        shards.keys,
        shards.manifest.digest,
        "any",
        "corpus",
    )
    assert loaded.thresholds == {"audio": 0.9, "visual": 0.8}


def test_another_manifests_components_are_refused(built: Built, shard_set: Callable[..., Shards]) -> None:
    other = shard_set({"vggish": np.ones((4, 10, 3)) * 2}, name="other")
    with pytest.raises(Refusal, match="must be built from the shards in use"):
        Components.load(built[0], other)


def test_an_altered_file_is_refused(built: Built) -> None:
    folder, shards, _ = built
    content = bytearray((folder / FILE).read_bytes())
    content[-100] ^= 1
    (folder / FILE).write_bytes(content)
    with pytest.raises(Refusal, match="missing or was altered"):
        Components.load(folder, shards)


def test_a_missing_file_is_refused(built: Built) -> None:
    (built[0] / FILE).unlink()
    with pytest.raises(Refusal, match="missing or was altered"):
        Components.load(*built[:2])


def test_a_folder_without_a_seal_is_refused(built: Built, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=f"must hold {SEAL}"):
        Components.load(tmp_path, built[1])


def test_a_seal_that_is_no_json_is_refused(built: Built) -> None:
    (built[0] / SEAL).write_text("[1, 2")
    with pytest.raises(Refusal, match=f"must hold {SEAL}"):
        Components.load(*built[:2])


def test_a_seal_of_another_version_is_refused(built: Built) -> None:
    facts = json.loads((built[0] / SEAL).read_text()) | {"format": "soundsight-graph-v0"}
    (built[0] / SEAL).write_text(json.dumps(facts))
    with pytest.raises(Refusal, match="'soundsight-graph-v0'"):
        Components.load(*built[:2])


def test_components_of_fewer_videos_are_refused(built: Built) -> None:
    folder, shards, components = built
    Components(components.ids[:3], shards.keys[:3], shards.manifest.digest, {}).save(folder)
    seal(folder, {"manifest": shards.manifest.digest})
    with pytest.raises(Refusal, match="must cover the shards"):
        Components.load(folder, shards)
