import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from graph.components import FILE, Components
from graph.seal import SEAL, seal
from launch.refusal import Refusal
from shards.read import Shards

Built = tuple[Path, Shards, Components]
JOINT = np.arange(40).reshape(4, 10, 1) // 3
APART = np.concatenate((JOINT, JOINT[::-1] // 2), axis=2)


@pytest.fixture(params=["joint", "per_modality"])
def built(request: pytest.FixtureRequest, shard_set: Callable[..., Shards], tmp_path: Path) -> Built:
    shards = shard_set({"vggish": np.ones((4, 10, 3))})
    ids, thresholds = {"joint": JOINT, "per_modality": APART}[request.param], {"audio": 0.9, "visual": 0.8}
    digest = shards.manifest.digest
    components = Components(ids, shards.keys, digest, thresholds, "all", "video", request.param, "propagation")
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
    assert replace(loaded, ids=components.ids) == components


def test_equal_components_are_equal_bytes_whatever_their_memory_looks_like(built: Built, tmp_path: Path) -> None:
    folder, _, components = built
    expected = (folder / FILE).read_bytes()
    for order in "CF":
        thresholds = dict(reversed(components.thresholds.items()))
        again = replace(components, ids=np.array(components.ids, order=order), thresholds=thresholds)
        for _ in range(10):  # safetensors writes several entries of metadata in another order each time
            again.save(tmp_path)
            assert (tmp_path / FILE).read_bytes() == expected


@pytest.mark.parametrize(
    ("ids", "closure", "sentence"),
    [
        (JOINT, "per_modality", r"int64 of shape \(4, 10, 1\) instead of int64 of shape \(4, 10, 2\)"),
        (APART, "joint", r"int64 of shape \(4, 10, 2\) instead of int64 of shape \(4, 10, 1\)"),
        (JOINT[..., 0], "joint", r"int64 of shape \(4, 10\) instead"),
        (JOINT[:, :9], "joint", r"int64 of shape \(4, 9, 1\) instead"),
        (JOINT[:3], "joint", r"int64 of shape \(3, 10, 1\) instead"),
        (JOINT.astype(np.int32), "joint", "int32 of shape"),
        (JOINT, "both", "closure 'both' instead of one of joint, per_modality"),
        (JOINT - 1, "joint", "numbered from -1 to 12"),
        (JOINT + 30, "joint", "numbered from 30 to 43 although there are 40 snippets"),
    ],
)
def test_ids_that_do_not_fit_their_closure_are_refused(
    built: Built, monkeypatch: pytest.MonkeyPatch, ids: np.ndarray, closure: str, sentence: str
) -> None:
    folder, shards, components = built
    with pytest.raises(AssertionError, match=sentence):
        replace(components, ids=ids, closure=closure)
    with monkeypatch.context() as patch:
        patch.setattr(Components, "__post_init__", lambda _: None)
        replace(components, ids=ids, closure=closure).save(folder)
    seal(folder, {"manifest": shards.manifest.digest})
    with pytest.raises(Refusal, match=f"must cover the shards snippet by snippet.*{sentence}.*again"):
        Components.load(folder, shards)


def test_components_of_other_videos_are_refused(built: Built) -> None:
    folder, shards, components = built
    replace(components, keys=(*shards.keys[1:], "another_0_10")).save(folder)
    seal(folder, {"manifest": shards.manifest.digest})
    with pytest.raises(Refusal, match="name other videos"):
        Components.load(folder, shards)


@pytest.mark.parametrize(
    "header",
    [
        None,
        {"graph": "[1, 2"},
        {"graph": "[]"},
        {"graph": "{}"},
        {"graph": '{"closure": "joint"}'},
        {"closure": "joint", "match": "any"},
    ],
)
def test_a_file_that_does_not_say_how_it_came_about_is_refused(built: Built, header: dict[str, str] | None) -> None:
    folder, shards, components = built
    keys = np.frombuffer("\n".join(shards.keys).encode(), np.uint8)
    (folder / FILE).write_bytes(save({"ids": components.ids, "keys": keys}, header))
    seal(folder, {"manifest": shards.manifest.digest})
    with pytest.raises(Refusal, match=r"must hold ids, keys and how they came about.*build the graph again"):
        Components.load(folder, shards)


@pytest.mark.parametrize("held", [{"ids": APART}, {"keys": np.zeros(3, np.uint8)}, None])
def test_a_file_without_ids_or_keys_is_refused(built: Built, held: dict[str, np.ndarray] | None) -> None:
    folder, shards, _ = built
    (folder / FILE).write_bytes(b"none" if held is None else save(held, {"graph": "{}"}))
    seal(folder, {"manifest": shards.manifest.digest})
    with pytest.raises(Refusal, match="must hold ids, keys and how they came about"):
        Components.load(folder, shards)


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
    facts = json.loads((built[0] / SEAL).read_text()) | {"format": "soundsight-graph-v1", "files": {}}
    (built[0] / SEAL).write_text(json.dumps(facts))
    with pytest.raises(Refusal, match=r"format soundsight-graph-v2, but .* has 'soundsight-graph-v1': build it again"):
        Components.load(*built[:2])
