"""What `parse` and its `extract` say of the extraction's settings names them as `parse` does."""

from pathlib import Path
from typing import Any

import pytest

from finetune import parse
from launch.chain import Failed
from launch.refusal import Refusal
from shards.extract.recipes import describe


def test_weights_that_are_missing_are_named_with_the_settings_of_parse(
    make: Any, ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "describe", describe)
    config = make().model_copy(update={"extract": parse.ExtractSettings(weights={"folder": tmp_path})})
    with pytest.raises(Refusal) as refused:
        parse.main(config)
    assert ran == []
    *lacks, advice = str(refused.value).splitlines()
    assert len(lacks) == 3
    assert "(--extract.weights.folder, --extract.weights.vggish, --extract.weights.resnet152" in advice
    assert "(--extract.weights.missing random)" in advice


@pytest.mark.parametrize(("stage", "said"), [("extract", True), ("predict", False)])
def test_where_extract_fails_its_settings_are_told_in_the_words_of_parse(
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ran: list[str],
    stage: str,
    said: bool,
) -> None:
    def fail(name: str, arguments: list[str]) -> None:
        if name == stage:
            raise Failed(name, 2)

    monkeypatch.setattr(parse, "run", fail)
    with pytest.raises(SystemExit):
        parse.main(make())
    assert ("What extract calls --name is --extract.name here." in capsys.readouterr().out) == said
