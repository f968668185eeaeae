"""Every config file loads, stands for its row, and opens with what it must say."""

from operator import attrgetter
from pathlib import Path

import pytest

from finetune.recipe import Recipe
from finetune.train import Config
from launch.settings import load, names

FOLDER = Path(__file__).parents[2] / "finetune" / "configs"
FILES = sorted(FOLDER.glob("*.toml"))
OVER = sorted((FOLDER / "over").glob("*.toml"))
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
    "cleaned": ("han", False, False, False),
}
"""Config → architecture, skip, adversarial, gcaa."""
SECONDS = {"cleaning.seconds": "average", "cleaning.balance": 0.5}
ABLATION = {
    "clean_average": ("han", {"cleaning.average": 0.999}),
    "clean_denoise": ("han", {"cleaning.denoise": True}),
    "clean_exchange": ("han", {"cleaning.labels": "exchange"}),
    "clean_gate": ("han", {"protocol.gate": "per_modality"}),
    "clean_thresholds": ("han", {"protocol.thresholds": "per_class"}),
    "clean_mixup": ("clean_average", {"cleaning.mixup": 1.0}),
    "clean_seconds": ("clean_average", SECONDS),
    "clean_control": ("cleaned", {"cleaning.labels": "weak"}),
    "cleaned_denoise": ("cleaned", {"cleaning.denoise": True}),
    "cleaned_all": ("cleaned", SECONDS | {"cleaning.mixup": 1.0}),
}
"""Config → the one that it is compared with, and all in which it differs from that."""


def settings(name: str) -> Config:
    return load(Config, [FOLDER / f"{name}.toml"], PLACES, "finetune")


def head_of(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line.startswith("#")]


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
        batch = 32 if name == "cleaned" else 16
        assert (recipe.batch, recipe.decay, recipe.decay_every) == ((batch, 0.1, 10) if han else (64, 0.5, 5))
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


@pytest.mark.parametrize("name", ABLATION)
def test_each_config_of_the_ablation_differs_from_its_counterpart_in_what_it_names_alone(name: str) -> None:
    other, changed = ABLATION[name]
    own, others = settings(name), settings(other)
    differs = {key for key in names(Recipe) if attrgetter(key)(own) != attrgetter(key)(others)}
    assert {key: attrgetter(key)(own) for key in differs} == changed
    assert "Ablation of label cleaning: " in head_of(FOLDER / f"{name}.toml")[0]


def test_every_config_is_a_row_or_of_the_ablation() -> None:
    assert {file.stem for file in FILES} == {*ROWS, *ABLATION}


@pytest.mark.parametrize("name", ROWS)
def test_each_row_opens_with_its_name_and_published_scores(name: str) -> None:
    head = head_of(FOLDER / f"{name}.toml")
    assert 'row "' in head[0]
    if head[3].startswith("# Published, test:"):
        assert [len(line.split()) for line in head[4:6]] == [7, 7]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_config_loads_and_opens_with_what_it_is_its_command_run_time_and_what_was_published(file: Path) -> None:
    assert settings(file.stem).parser.features
    what, command, time, published = head_of(file)[:4]
    assert what.startswith(("# Tables 1 and 2", "# Beyond the paper", "# Ablation of label cleaning"))
    assert command == (
        f"#   python -m launch finetune finetune/configs/{file.name} --shards DIR --tables DIR --out runs/"
        f"{file.stem.removeprefix('pretrain_multi_') if 'end_to_end' in file.stem else file.stem}"
    )
    assert time.startswith("# 10,000 videos on ")
    assert "s an epoch" in time
    assert "min" in time
    assert published.startswith("# Published")
    assert published.startswith("# Published: none") or "test:" in published


@pytest.mark.parametrize("file", OVER, ids=lambda file: file.stem)
def test_what_is_laid_over_a_row_leaves_it_that_row(file: Path) -> None:
    for name in ROWS:
        over = load(Config, [FOLDER / f"{name}.toml", file], PLACES, "finetune")
        assert over.training != settings(name).training
        assert over.model_copy(update={"training": settings(name).training}) == settings(name)
