"""Networks of random weights that the tests share: building them takes longer than running them."""

from pathlib import Path

import pytest
import torch

from shards.extract.networks import FeatureNetwork
from shards.extract.networks.weights import WeightSettings
from shards.extract.recipes import RecipeSettings, load

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def nothing_learned(tmp_path_factory: pytest.TempPathFactory) -> WeightSettings:
    """Random weights, whatever this machine has."""
    return WeightSettings(folder=tmp_path_factory.mktemp("no_weights"), missing="random")


@pytest.fixture(scope="session")
def llp_networks(nothing_learned: WeightSettings) -> dict[str, FeatureNetwork]:
    """The networks of LLP's features with random weights, by the names of their features."""
    networks = load(RecipeSettings(weights=nothing_learned), CPU, rows=64)
    return {network.feature.name: network for network in networks}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder without any weights."""
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder
