"""A planted shard set with its components, small enough to train on in a second."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graph.components import Components
from graph.groups import GROUPS, group_of_videos
from graph.seal import seal
from launch.world import World
from pretrain.model import load_encoder
from shards.read import Shards
from shards.schema import SECONDS, Feature, Video
from shards.write import Writer

WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}
VIDEOS, SCENES = 61, 7
STEPS = 6


def damage(folder: Path, key: str) -> str:
    """Flips a byte inside a video."""
    for tar in folder.glob("*.tar"):
        content = bytearray(tar.read_bytes())
        at = content.find(key.encode())
        if at >= 0:
            content[at + 512 + 600] ^= 1
            tar.write_bytes(content)
            return key
    raise AssertionError(f"no {key} in {folder}")


@dataclass(frozen=True)
class Planted:
    """Folders of a shard set and of its components: snippets of one scene look and sound alike."""

    shards: Path
    components: Path

    def open(self) -> tuple[Shards, Components]:
        shards = Shards.open(self.shards)
        return shards, Components.load(self.components, shards)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted"))


def plant(folder: Path, seed: int = 7) -> Planted:
    """Shards and components below a folder."""
    draw = np.random.Generator(np.random.PCG64(seed))
    scene_of = draw.integers(SCENES, size=(VIDEOS, SECONDS))
    scenes = {name: draw.normal(size=(SCENES, width)) for name, width in WIDTHS.items()}
    keys = tuple(f"video{index:03d}_0_10" for index in range(VIDEOS))
    with Writer(folder / "shards", [Feature(*item) for item in WIDTHS.items()], {}, videos_per_shard=25) as writer:
        for key, scene in zip(keys, scene_of, strict=True):
            rows = {name: scenes[name][scene] for name in WIDTHS}
            writer.add(Video(key, {name: r + 0.5 * draw.normal(size=r.shape) for name, r in rows.items()}))
    digest = Shards.open(folder / "shards").manifest.digest
    write_graph(folder / "graph", scene_of[..., None], keys, digest)
    return Planted(folder / "shards", folder / "graph")


@pytest.fixture(scope="session")
def two_ways(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """The same shards with an audio and a visual component a snippet, of which about one in ten disagree."""
    shards, components = planted.open()
    draw = np.random.Generator(np.random.PCG64(8))
    audio = components.ids[..., 0]
    visual = np.where(draw.random(audio.shape) < 0.1, draw.integers(SCENES, size=audio.shape), audio)
    folder = tmp_path_factory.mktemp("two_ways") / "graph"
    write_graph(folder, np.stack((audio, visual), axis=2), shards.keys, shards.manifest.digest, "per_modality")
    return Planted(planted.shards, folder)


def write_graph(folder: Path, ids: np.ndarray, keys: tuple[str, ...], digest: str, closure: str = "joint") -> None:
    """What pre-training reads of a graph: components and groups, sealed."""
    folder.mkdir()
    Components(ids, keys, digest, {"audio": 0.9, "visual": 0.9}, closure=closure).save(folder)
    np.save(folder / GROUPS, group_of_videos(ids))
    seal(folder, {"manifest": digest})


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs of these tests are tracked; a store of its own would cost each of them seconds."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def alone() -> World:
    """A world of one process."""
    return World.from_environment(seed=0)


def chosen(planted: Planted, runs: Path, out: Path) -> dict[str, Any]:
    """Settings of a run of a few steps."""
    return {
        "shards": planted.shards,
        "components": planted.components,
        "out": out,
        "steps": STEPS,
        "evaluate_every": 3,
        "model": {"layers": 2, "width": 16, "heads": 2},
        "engine": {"zero_stage": 1, "warm_up": 2},
        "batches": {"global_batch": 20},
        "checkpoints": {"every": 2, "keep": 3},
        "tracking": {"root": runs},
    }


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Of the encoder that a run wrote."""
    return load_encoder(out / "encoder").state_dict()
