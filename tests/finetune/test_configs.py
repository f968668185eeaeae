"""Every config file loads, stands for its row, and opens with what it must say."""

from pathlib import Path

import pytest

from finetune.train import Config
from launch.settings import load

FOLDER = Path(__file__).parents[2] / "finetune" / "configs"
FILES = sorted(FOLDER.glob("*.toml"))
PLACES = ["--shards", "s", "--tables", "t", "--out", "o"]
ROWS = {
    "han": ("han", False, False, False),
    "base": ("base", False, False, False),
    "base_gcaa": ("base", False, False, True),
    "base_adv_skip": ("base", True, True, False),
    "base_adv_skip_gcaa": ("base", True, True, True),
    "pretrain_multi": ("base", True, True, True),
}


def settings(name: str) -> Config:
    return load(Config, [FOLDER / f"{name}.toml"], PLACES, "finetune")


@pytest.mark.parametrize("name", ROWS)
def test_each_config_is_the_row_it_is_named_after(name: str) -> None:
    parser = settings(name).parser
    assert (parser.architecture, parser.skip, parser.adversarial, parser.gcaa) == ROWS[name]
    embeddings = name.startswith("pretrain")
    assert parser.audio == (("pretrained_audio",) if embeddings else ("vggish",))
    assert parser.visual == (("pretrained_visual",) if embeddings else ("resnet152", "r2plus1d_18"))


def test_han_has_its_own_recipe_and_the_others_the_papers() -> None:
    han = settings("han")
    assert (han.training.batch, han.training.decay, han.training.decay_every, han.loss.lambda_g) == (16, 0.1, 10, 2.0)
    for name in set(ROWS) - {"han"}:
        recipe, loss = settings(name).training, settings(name).loss
        assert (recipe.epochs, recipe.batch, recipe.learning_rate) == (40, 64, 3e-4)
        assert (recipe.decay, recipe.decay_every) == (0.5, 5)
        assert (loss.lambda_g, loss.lambda_ad) == (0.6, 0.4)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_config_opens_with_row_command_run_time_and_published_scores(file: Path) -> None:
    head = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert 'row "' in head[0]
    assert f"python -m launch finetune finetune/configs/{file.name} --shards DIR --tables DIR" in head[1]
    assert "epoch" in head[2]
    assert [len(line.split()) for line in head[4:6]] == [7, 7]
