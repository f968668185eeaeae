"""A decoder by its name, or one sentence that says what to install."""

import pickle
import sys

import pytest

from launch.refusal import Refusal
from shards.extract.container import MAX_PIXELS
from shards.extract.decoding.opening import open_decoder
from shards.extract.decoding.pyav import PyAV


def test_pyav_is_opened_by_name_and_can_be_sent_to_a_process() -> None:
    assert open_decoder("pyav") == PyAV(MAX_PIXELS)
    assert pickle.loads(pickle.dumps(open_decoder("pyav", 1000))) == PyAV(1000)


@pytest.mark.parametrize(("name", "library", "extra"), [("pyav", "av", "video"), ("torchcodec", "torchcodec", "codec")])
def test_without_its_library_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    for module in [
        each
        for each in sys.modules
        if each.startswith(("shards.extract.decoding.", "shards.extract.media", "shards.extract.container"))
    ]:
        monkeypatch.delitem(sys.modules, module)
    for module in [each for each in sys.modules if each == library or each.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(Refusal) as caught:
        open_decoder(name)  # type: ignore[arg-type]
    assert "pip install 'soundsight[" in str(caught.value)
    assert extra in str(caught.value)
    assert "\n" not in str(caught.value)
