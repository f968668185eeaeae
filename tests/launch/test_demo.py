"""The demo: which tables it takes, and which commands it runs."""

from pathlib import Path

import pytest

from launch import demo
from launch.refusal import Refusal
from launch.stage import STAGES


def test_the_tables_that_llp_tables_names_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "AVVP_train.csv").touch()
    monkeypatch.setenv("LLP_TABLES", str(tmp_path))
    assert demo.find_tables() == tmp_path


def test_a_wrong_llp_tables_is_refused_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLP_TABLES", str(tmp_path / "none"))
    with pytest.raises(Refusal, match=r"'.*none' has none: mend it or unset it"):
        demo.find_tables()


def test_without_real_tables_anywhere_the_corpus_brings_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLP_TABLES", raising=False)
    monkeypatch.setattr(demo, "TABLES_HERE", tmp_path)
    assert demo.find_tables() is None
    first = demo.chain(demo.SIZES["small"], tmp_path, None, 2)[0]
    assert first[0] == "synthesise"
    assert "--tables" not in first[1]


@pytest.mark.parametrize("size", list(demo.SIZES))
def test_graph_and_encoder_learn_from_the_training_split_only(size: str) -> None:
    steps = dict(demo.chain(demo.SIZES[size], Path("out"), None, 2)[:5])
    assert set(steps) <= set(STAGES)
    for stage in ("graph", "pretrain"):
        words = steps[stage]
        assert words[words.index("--shards") + 1] == "out/shards/train"
