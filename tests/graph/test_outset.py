"""What the building of a graph says before any comparison."""

from pathlib import Path

import pytest
import torch

from graph.config import Config
from graph.outset import facts
from launch.banner import Machines
from launch.settings import load
from launch.world import World
from shards.read import Shards
from tests.shards.sets import write

MACHINES = Machines(("node-a", "node-b"), (2, 2), "")


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return write(tmp_path / "set")


def said(shards: Shards, *words: str) -> dict[str, str]:
    config = load(Config, [], ["--shards", "set", "--out", "graph", *words], "test")
    return facts(config, shards, MACHINES, World(0, 4, 0, torch.device("cpu"), 0))


def test_what_is_compared_with_what_is_told(shards: Shards) -> None:
    found = said(shards, "--search.engine", "blocks", "--threshold_visual", "0.95")
    assert found["devices"].startswith("2 hosts × 2 processes (CPU ")
    assert found["snippets"] == "50 of 5 videos"
    assert found["compared"] == "1.23 k pairs in each modality, every one, by blocks"
    assert found["similarity"] == (
        "audio by vggish, threshold auto, floor 0.8, visual by resnet152, threshold 0.95, floor 0.8"
    )
    assert found["components"] == "match any, closure joint, refine propagation"


def test_what_is_not_compared_is_told_as_well(shards: Shards) -> None:
    assert "those that hnsw proposes" in said(shards, "--search.engine", "hnsw")["compared"]
    assert said(shards, "--scope", "video")["compared"] == "225 pairs inside videos in each modality"
    assert said(shards, "--base", "earlier")["compared"].startswith("new snippets with all")
