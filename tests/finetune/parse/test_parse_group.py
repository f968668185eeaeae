"""What `parse` and its `extract` say of the extraction's settings names them as `parse` does."""

from pathlib import Path
from typing import Any

import pytest

from finetune import parse
from launch.chain import Failed
from launch.refusal import Refusal
from tests.shards.extract.fakes import HEARD, SEEN


def test_weights_that_are_missing_are_named_with_the_settings_of_parse(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "run", lambda *_: pytest.fail("a stage was started"))
    config = make().model_copy(update={"extract": parse.ExtractSettings(weights={"folder": tmp_path})})
    with pytest.raises(Refusal) as refused:
        parse.main(config)
    *lacks, advice = str(refused.value).splitlines()
    assert len(lacks) == 3
    assert "(--extract.weights.folder, --extract.weights.vggish, --extract.weights.resnet152" in advice
    assert "(--extract.weights.missing random)" in advice


@pytest.mark.parametrize(("stage", "said"), [("extract", True), ("predict", False)])
def test_where_extract_fails_its_settings_are_told_in_the_words_of_parse(
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    said: bool,
) -> None:
    def fail(name: str, arguments: list[str]) -> None:
        if name == stage:
            raise Failed(name, 2)

    monkeypatch.setattr(parse, "describe", lambda settings: [HEARD, SEEN])
    monkeypatch.setattr(parse, "run", fail)
    with pytest.raises(SystemExit):
        parse.main(make())
    assert ("extract's --on_bad is --extract.on_bad" in capsys.readouterr().out) == said
