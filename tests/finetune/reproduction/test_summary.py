"""Means, deviations and differences over seeds, and the facts told with them, against plain numpy."""

import re
import tomllib
from dataclasses import replace

import numpy as np
import pytest

from finetune.reproduction.results import Identity, Result
from finetune.reproduction.rows import COUNTERPARTS, ROWS
from finetune.reproduction.sources import PRETRAINING
from finetune.reproduction.summary import LARGE, Cell, Found
from finetune.reproduction.tables import EXCLUSIVE_HEADS, HEADS, grids, markdown, numbers
from finetune.scoring.metrics import EXCLUSIVE, KINDS, LEVELS
from launch import demo

PROTOCOL = {
    "gate": "global", "gate_threshold": 0.5, "threshold": 0.5, "thresholds": "fixed", "videos": 1200, "split": "test",
    "features": {"vggish": f"raw · of {'c4' * 32}"},
    "coverage": "planted features: not comparable with the paper (10 of 10)",
}  # fmt: skip
SETTINGS = {"training.epochs": 40, "training.batch": 16, "training.learning_rate": 3e-4}
USUAL = SETTINGS | {"training.precision": "float32", "cleaning.labels": "weak", "cleaning.average": 0.0}
ENCODER = {"digest": "ab" * 32, "layers": 2, "width": 128, "heads": 4, "weights": 700_000, "mode": "multi", "steps": 9}


def result(row: str, seed: int) -> Result:
    dice = np.random.default_rng([len(row), seed])
    scores = {level: {kind: float(dice.uniform(40, 60)) for kind in KINDS} for level in LEVELS}
    scores["exclusive"] = {level: {"audible_only": 30.0 + seed, "visible_only": 20.0} for level in LEVELS}  # type: ignore[dict-item]
    categories = {"audio": [float(seed), None, 10.0], "visual": [None if seed else 8.0, None, 4.0]}
    about = ENCODER if ROWS[row].embeddings else None
    identity = Identity(row, seed, SETTINGS, 1, {}, {}, "")
    return Result(identity, "abc123", "c0de" * 16, PROTOCOL, scores, categories, {}, 7, about, {})


@pytest.fixture
def found() -> Found:
    """HAN with seeds 0 and 2 of three, the full model with all, pretrain_multi with its only one, Base with none."""
    there = {"han": (0, 2), "base_adv_skip_gcaa": (0, 1, 2), "pretrain_multi": (0,), "base": ()}
    wanted = {row: range(1 if row == "pretrain_multi" else 3) for row in there}
    results = {(row, seed): result(row, seed) for row, seeds in there.items() for seed in seeds}
    return Found([ROWS[row] for row in there], wanted, results, USUAL)


def line(text: str, title: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    (shown,) = re.findall(rf"^\| {re.escape(title)} \|.*$", text, re.MULTILINE)
    return [cell.strip() for cell in shown.strip("|").split("|")]


@pytest.mark.parametrize(("level", "number"), [("segment", 1), ("event", 2)])
def test_printed_means_and_deviations_are_those_of_plain_numpy(found: Found, level: str, number: int) -> None:
    text = grids(found)[number - 1].markdown()
    assert f"Table {number}: {level}-level" in text
    cells = line(text, "HAN [1]")
    for place, kind in enumerate(KINDS):
        values = np.array([found.results["han", seed].scores[level][kind] for seed in (0, 2)])
        spread = np.sqrt(((values - values.mean()) ** 2).sum() / (len(values) - 1))
        assert cells[1 + 2 * place] == f"{ROWS['han'].published[level][place]:.1f}"  # type: ignore[index]
        assert cells[2 + 2 * place] == f"{values.mean():.1f} ± {spread:.1f}"


def test_missing_seeds_and_rows_are_printed_as_missing(found: Found) -> None:
    text = grids(found)[0].markdown()
    assert line(text, "HAN [1]")[-1] == "0 – 2"
    assert line(text, "Base + Adv+Skip+GCAA")[-1] == "0 1 2"
    assert line(text, "Pretrain (multi)")[-1] == "0"
    assert line(text, "Base")[2::2][:5] == ["–"] * 5
    assert line(text, "Base")[-1] == "– – –"


def test_one_seed_has_a_mean_and_no_deviation(found: Found) -> None:
    score = found.results["pretrain_multi", 0].scores["segment"]["audio"]
    assert line(grids(found)[0].markdown(), "Pretrain (multi)")[2] == f"{score:.1f}"
    assert Cell.of([50.0]).deviation is None


def test_counterparts_are_compared_over_the_seeds_that_both_have(found: Found) -> None:
    cells = line(markdown(found), "full model − HAN, raw features")
    each = [
        [found.results[row, seed].scores["segment"]["audio"] for seed in (0, 2)]
        for row in ("base_adv_skip_gcaa", "han")
    ]
    apart = np.subtract(*each)
    assert cells[1] == f"{apart.mean():+.1f} ± {apart.std(ddof=1):.1f}"
    assert found.difference("base", "han", "segment", KINDS) == [None] * 5


def test_rows_that_were_not_chosen_have_no_counterparts(found: Found) -> None:
    alone = replace(found, rows=[ROWS["han"]])
    assert not any("Counterparts" in grid.title for grid in grids(alone))
    assert {each.row for each in COUNTERPARTS} & {"pretrain_uni", "cleaned"} == {"pretrain_uni", "cleaned"}


def test_what_produced_the_numbers_is_told_with_the_rows_it_holds_for(found: Found) -> None:
    facts = {(what, rows): fact for what, fact, rows in found.facts()}
    everyone = "HAN [1], Base + Adv+Skip+GCAA, Pretrain (multi)"
    assert facts["gate and thresholds", everyone] == "gate global (p ≥ 0.5), seconds p ≥ 0.5"
    assert facts["features", everyone] == "vggish (raw · of c4c4c4c4c4c4)"
    assert facts["training", everyone] == (
        "40 epochs, 16 videos a step, Adam 0.0003, float32, the best epoch on validation"
    )
    assert "not comparable with the paper" in facts["data", everyone]
    assert facts["code", "all"] == "commit abc123"
    assert "label cleaning" not in [what for what, _ in facts]
    encoder = facts["encoder", "Pretrain (multi)"]
    assert "2 layers 128 wide" in encoder
    assert "loss multi" in encoder
    assert "small, for CPUs" in encoder


def test_label_cleaning_is_told_by_the_settings_that_make_it(found: Found) -> None:
    plain = result("han", 0)
    settings = {**SETTINGS, "cleaning.labels": "exchange", "cleaning.average": 0.999}
    cleaned = replace(plain, identity=replace(plain.identity, settings=settings))
    told = {what: fact for what, fact, _ in replace(found, results={("han", 0): cleaned}).facts()}
    assert told["label cleaning"] == "labels exchange, average 0.999"


def test_a_large_encoder_is_not_called_small(found: Found) -> None:
    large = replace(result("pretrain_multi", 0), about_encoder=ENCODER | {"width": 768})
    told = replace(found, results={("pretrain_multi", 0): large}).facts()
    assert not any("small" in fact for _, fact, _ in told)


def test_every_title_of_scores_says_whether_they_may_be_compared(found: Found) -> None:
    titles = [grid.title for grid in grids(found)][:3]
    assert all("not comparable with the paper" in title for title in titles)


def test_category_means_leave_out_what_was_not_scored(found: Found) -> None:
    assert found.categories("han") == {"audio": [1.0, None, 10.0], "visual": [8.0, None, 4.0]}
    assert found.categories("base") is None


def test_numbers_for_programs_are_those_of_the_tables(found: Found) -> None:
    told = numbers(found)
    of_han = told["event"]["han"]
    assert (of_han["seeds"], of_han["missing"]) == ([0, 2], [1])
    assert of_han["paper"]["event_at_av"] == 48.0
    values = [found.results["han", seed].scores["event"]["visual"] for seed in (0, 2)]
    assert of_han["ours"]["visual"]["mean"] == pytest.approx(np.mean(values))
    assert told["event"]["base"]["ours"] == dict.fromkeys(KINDS)


def test_exclusive_scores_stand_in_a_table_of_their_own_where_there_are_any(found: Found) -> None:
    (grid,) = (grid for grid in grids(found) if "only heard" in grid.title)
    assert line(grid.markdown(), "HAN [1]")[1:3] == ["31.0 ± 1.4", "20.0 ± 0.0"]
    plain = {
        key: replace(each, scores={level: each.scores[level] for level in LEVELS})
        for key, each in found.results.items()
    }
    assert not any("only heard" in grid.title for grid in grids(replace(found, results=plain)))


def test_a_small_encoder_is_one_narrower_than_that_of_the_config_for_use() -> None:
    assert tomllib.loads((PRETRAINING / "base.toml").read_text())["model"]["width"] == LARGE


def test_scores_have_the_same_heads_as_in_the_table_of_the_demo() -> None:
    assert demo.KINDS == HEADS
    assert tuple(HEADS) == KINDS
    assert tuple(EXCLUSIVE_HEADS) == EXCLUSIVE
