"""Corpora that the tests of `pack` share, and where their runs are tracked."""

from pathlib import Path

import pytest

from tests.shards.at_work import contents
from tests.shards.corpora import write_corpus
from tests.shards.packs import VIDEOS, plant, run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four videos in LLP's layout."""
    return write_corpus(tmp_path)


@pytest.fixture
def feats(tmp_path: Path) -> Path:
    """Two features of 450 videos, in a folder of its own a test: 150 shards, so that a kill finds it at work."""
    return plant(tmp_path / "corpus" / "feats", VIDEOS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> dict[str, bytes]:
    """The bytes of the same corpus packed by one process at one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(plant(folder / "corpus" / "feats", VIDEOS), folder / "out", runs)
    return contents(folder / "out")
