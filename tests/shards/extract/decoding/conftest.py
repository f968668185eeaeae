"""A file that several tests of decoding read."""

from pathlib import Path

import pytest

from shards.extract.filming.encode import Codecs, write_video
from tests.shards.extract.material import RATE, busy, indexed_first, tone


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds that change all the time, index first, a key frame every two and a half seconds."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    options = (("crf", "23"), ("preset", "ultrafast"), ("g", "25"))
    write_video(path, busy(400), 10, tone(40), RATE, Codecs(options=options))
    return indexed_first(path)
