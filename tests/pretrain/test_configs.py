"""Every config that ships loads as it is, and says at its top how it is run."""

import warnings
from pathlib import Path

import pytest

from launch.settings import load
from pretrain.train import Config

CONFIGS = {path.stem: path for path in sorted((Path(__file__).parents[2] / "pretrain" / "configs").glob("*.toml"))}


def loaded(path: Path) -> Config:
    given = ["--shards", "s", "--components", "c", "--out", "o"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "positive_margin = negative_margin")
        return load(Config, [path], given, "pretrain")


@pytest.mark.parametrize("path", CONFIGS.values(), ids=lambda path: path.stem)
def test_a_config_loads_and_opens_with_its_command(path: Path) -> None:
    config = loaded(path)
    assert config.model.width % config.model.heads == 0
    assert f"python -m launch pretrain pretrain/configs/{path.name} " in path.read_text()


def test_there_are_configs_for_a_look_for_use_for_one_core_for_the_release_and_for_the_study() -> None:
    assert list(CONFIGS) == ["base", "debug", "one_core", "release", "study"]


def test_the_sizes_are_those_of_use_and_of_the_release() -> None:
    sizes = {name: loaded(path).model for name, path in CONFIGS.items()}
    assert (sizes["base"].layers, sizes["base"].width, sizes["base"].heads) == (12, 768, 12)
    assert (sizes["release"].layers, sizes["release"].width, sizes["release"].heads) == (12, 1024, 8)


def test_the_last_step_of_an_epoch_of_the_base_config_is_nearly_full() -> None:
    batches = loaded(CONFIGS["base"]).batches
    left = (29_000 - batches.held_out) % batches.global_batch
    assert left > 0.9 * batches.global_batch


def test_the_release_takes_uni_and_cross_in_turns() -> None:
    loss = loaded(CONFIGS["release"]).loss
    assert [loss.in_epoch(epoch).mode for epoch in range(3)] == ["uni", "cross", "uni"]
