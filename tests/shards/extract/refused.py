"""The sentence by which a file is refused."""

from pathlib import Path

import pytest

from shards.extract.decoding import BadClip
from shards.extract.media import examine


def refusal(path: Path, **settings: int) -> str:
    with pytest.raises(BadClip) as caught:
        examine(path, **settings)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith((".", "it."))
    return str(caught.value)
