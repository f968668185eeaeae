"""Every config file loads, stands for its row, and opens with what it must say."""

from pathlib import Path

import pytest

from finetune.train import Config
from launch.settings import load

FOLDER = Path(__file__).parents[2] / "finetune" / "configs"
FILES = sorted(FOLDER.glob("*.toml"))
PLACES = ["--shards", "s", "--tables", "t", "--out", "o"]
FULL = ("base", True, True, True)
ROWS = {
    "han": ("han", False, False, False),
    "base": ("base", False, False, False),
    "base_gcaa": ("base", False, False, True),
    "base_adv_skip": ("base", True, True, False),
    "base_adv_skip_gcaa": FULL,
    "pretrain_uni": FULL,
    "pretrain_cross": FULL,
    "pretrain_multi": FULL,
    "pretrain_multi_han": ("han", False, False, False),
    "pretrain_multi_end_to_end": FULL,
}
"""Config → architecture, skip, adversarial, gcaa."""


def settings(name: str) -> Config:
    return load(Config, [FOLDER / f"{name}.toml"], PLACES, "finetune")


@pytest.mark.parametrize("name", ROWS)
def test_each_config_is_the_row_it_is_named_after(name: str) -> None:
    parser = settings(name).parser
    assert (parser.architecture, parser.skip, parser.adversarial, parser.gcaa) == ROWS[name]
    embeddings = name.startswith("pretrain") and not name.endswith("end_to_end")
    assert parser.audio == (("pretrained_audio",) if embeddings else ("vggish",))
    assert parser.visual == (("pretrained_visual",) if embeddings else ("resnet152", "r2plus1d_18"))


def test_han_has_its_own_recipe_and_the_others_the_papers() -> None:
    for name, (architecture, *_) in ROWS.items():
        recipe, loss, han = settings(name).training, settings(name).loss, architecture == "han"
        assert (recipe.epochs, recipe.learning_rate) == (40, 3e-4)
        assert (recipe.batch, recipe.decay, recipe.decay_every) == ((16, 0.1, 10) if han else (64, 0.5, 5))
        assert (loss.lambda_g, loss.lambda_ad) == (2.0 if han else 0.6, 0.4)


@pytest.mark.parametrize("name", ["pretrain_uni", "pretrain_cross", "pretrain_multi"])
def test_rows_on_embeddings_differ_from_the_full_model_in_their_features_alone(name: str) -> None:
    full, embedded = settings("base_adv_skip_gcaa"), settings(name)
    features = {"audio": full.parser.audio, "visual": full.parser.visual}
    assert embedded.model_copy(update={"parser": embedded.parser.model_copy(update=features)}) == full


def test_han_on_embeddings_differs_from_han_in_its_features_alone() -> None:
    han, embedded = settings("han"), settings("pretrain_multi_han")
    features = {"audio": han.parser.audio, "visual": han.parser.visual}
    assert embedded.model_copy(update={"parser": embedded.parser.model_copy(update=features)}) == han


def test_end_to_end_is_the_full_model_until_it_is_given_an_encoder() -> None:
    assert settings("pretrain_multi_end_to_end") == settings("base_adv_skip_gcaa")


@pytest.mark.parametrize("name", ROWS)
def test_each_row_opens_with_its_name_command_run_time_and_published_scores(name: str) -> None:
    head = [line for line in (FOLDER / f"{name}.toml").read_text().splitlines() if line.startswith("#")]
    assert 'row "' in head[0]
    assert f"python -m launch finetune finetune/configs/{name}.toml --shards DIR --tables DIR" in head[1]
    assert "epoch" in head[2]
    assert head[3].startswith("# Published")
    if "none" not in head[3]:
        assert [len(line.split()) for line in head[4:6]] == [7, 7]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_config_loads_and_opens_with_what_it_is_and_its_command(file: Path) -> None:
    assert settings(file.stem).parser.features
    head = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert any(
        f"python -m launch finetune finetune/configs/{file.name} --shards DIR --tables DIR" in line for line in head
    )
