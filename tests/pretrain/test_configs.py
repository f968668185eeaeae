"""Every config that ships loads as it is, and says at its top how it is run."""

import warnings
from pathlib import Path

import pytest

from launch.settings import load
from pretrain.train import Config

CONFIGS = sorted((Path(__file__).parents[2] / "pretrain" / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_loads_and_opens_with_its_command(path: Path) -> None:
    given = ["--shards", "s", "--components", "c", "--out", "o"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "positive_margin = negative_margin")
        config = load(Config, [path], given, "pretrain")
    assert config.model.width % config.model.heads == 0
    assert f"python -m launch pretrain pretrain/configs/{path.name} " in path.read_text()


def test_there_are_configs_for_a_look_for_use_and_for_the_authors_release() -> None:
    assert [path.stem for path in CONFIGS] == ["base", "debug", "release"]
