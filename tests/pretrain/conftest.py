"""A planted shard set with its components, small enough to train on in a second."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from graph.components import Components, seal
from graph.groups import GROUPS, group_of_videos
from launch.world import World
from shards.read import Shards
from shards.schema import SECONDS, Feature, Video
from shards.write import Writer

WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}
VIDEOS, SCENES = 61, 7


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
    folder = tmp_path_factory.mktemp("planted")
    draw = np.random.Generator(np.random.PCG64(7))
    scene_of = draw.integers(SCENES, size=(VIDEOS, SECONDS))
    scenes = {name: draw.normal(size=(SCENES, width)) for name, width in WIDTHS.items()}
    keys = tuple(f"video{index:03d}_0_10" for index in range(VIDEOS))
    with Writer(folder / "shards", [Feature(*item) for item in WIDTHS.items()], {}, videos_per_shard=25) as writer:
        for key, scene in zip(keys, scene_of, strict=True):
            rows = {name: scenes[name][scene] for name in WIDTHS}
            writer.add(Video(key, {name: r + 0.5 * draw.normal(size=r.shape) for name, r in rows.items()}))
    digest = Shards.open(folder / "shards").manifest.digest
    (folder / "graph").mkdir()
    Components(scene_of, keys, digest, {"audio": 0.9, "visual": 0.9}).save(folder / "graph")
    np.save(folder / "graph" / GROUPS, group_of_videos(scene_of))
    seal(folder / "graph", {"manifest": digest})
    return Planted(folder / "shards", folder / "graph")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs of these tests are tracked; a store of its own would cost each of them seconds."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world of one process that stays joined: DeepSpeed remembers groups, so a process can join only once."""
    monkeypatch.setattr(World, "close", lambda world: None)
    return World.from_environment(seed=0)
