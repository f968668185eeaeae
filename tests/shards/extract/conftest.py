"""The file that tests of examining and decoding read."""

from pathlib import Path

import pytest

from tests.shards.extract.material import usual


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return usual(tmp_path_factory.mktemp("usual") / "clip.mp4")
