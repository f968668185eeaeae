"""The rows: what they are called, what they read, and what was published of them."""

import re
from pathlib import Path
from typing import Any

import pytest

from finetune.reproduction import rows
from finetune.reproduction.rows import ABLATIONS, CONFIGS, COUNTERPARTS, MODES, ROWS, chosen
from finetune.reproduction.trials import told
from finetune.scoring.metrics import KINDS, LEVELS
from finetune.train import Config
from launch.refusal import Refusal
from launch.settings import load


@pytest.mark.parametrize("name", [*ROWS, *ABLATIONS])
def test_what_a_row_reads_is_what_its_config_asks_for(name: str) -> None:
    (row,) = chosen((name,))
    parser = load(Config, [row.config], ["--shards", "s", "--tables", "t", "--out", "o"], "finetune").parser
    embedded = {"pretrained_audio", "pretrained_visual"} & set(parser.features)
    assert bool(embedded) == bool(row.embeddings)
    assert {row.embeddings, row.encoder} <= {*MODES, ""}
    assert not (row.embeddings and row.encoder)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.published])
def test_published_scores_are_those_at_the_head_of_the_config(name: str) -> None:
    published = ROWS[name].published
    assert published
    assert set(published) == set(LEVELS)
    text = ROWS[name].config.read_text()
    for level, scores in published.items():
        (line,) = re.findall(rf"^# +{level}( +[\d. ]+)$", text, re.MULTILINE)
        assert tuple(map(float, line.split())) == scores
        assert len(scores) == len(KINDS)


def test_type_at_av_of_published_scores_is_the_mean_of_three() -> None:
    """A figure copied wrongly would show: the paper's own means agree with its scores to rounding."""
    for row in ROWS.values():
        for scores in (row.published or {}).values():
            assert scores[3] == pytest.approx(sum(scores[:3]) / 3, abs=0.08)


def test_all_rows_are_chosen_by_default_and_some_in_their_order() -> None:
    assert chosen(()) == list(ROWS.values())
    assert [row.name for row in chosen(("base", "han"))] == ["base", "han"]


def test_any_other_config_is_a_row_without_published_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CONFIGS", tmp_path)
    (tmp_path / "mine.toml").write_text('[parser]\naudio = ["pretrained_audio"]\n')
    (row,) = chosen(("mine",))
    assert (row.title, row.published, row.embeddings, row.config.exists()) == ("mine", None, "multi", True)


def test_ablations_are_rows_where_they_are_named_and_only_there() -> None:
    assert ABLATIONS.keys().isdisjoint(ROWS)
    assert [row.title for row in chosen(("clean_gate",))] == ["HAN, gate per modality"]
    assert {row.name for row in chosen(())}.isdisjoint(ABLATIONS)


def test_every_config_has_a_title_as_a_row() -> None:
    assert {file.stem for file in CONFIGS.glob("*.toml")} == {*ROWS, *ABLATIONS}


def settings(name: str) -> dict[str, Any]:
    return dict(told(load(Config, [CONFIGS / f"{name}.toml"], ["--shards", "s", "--tables", "t", "--out", "o"], "")))


@pytest.mark.parametrize(
    ("row", "other", "differ"),
    [
        (
            "cleaned",
            "han",
            {"cleaning.labels", "cleaning.average", "protocol.gate", "loss.smoothing_visual", "training.batch"},
        ),
        ("cleaned", "clean_control", {"cleaning.labels"}),
        ("clean_control", "han", {"cleaning.average", "protocol.gate", "loss.smoothing_visual", "training.batch"}),
        ("clean_exchange", "han", {"cleaning.labels"}),
        ("clean_denoise", "han", {"cleaning.denoise"}),
        ("clean_gate", "han", {"protocol.gate"}),
        ("clean_thresholds", "han", {"protocol.thresholds"}),
        ("clean_average", "han", {"cleaning.average"}),
        ("clean_seconds", "han", {"cleaning.average", "cleaning.seconds", "cleaning.balance"}),
        ("clean_mixup", "han", {"cleaning.average", "cleaning.mixup"}),
        ("cleaned_denoise", "cleaned", {"cleaning.denoise"}),
        ("cleaned_all", "cleaned", {"cleaning.seconds", "cleaning.balance", "cleaning.mixup"}),
    ],
)
def test_counterparts_of_label_cleaning_differ_in_what_they_tell(row: str, other: str, differ: set[str]) -> None:
    assert (row, other) in {(each.row, each.other) for each in COUNTERPARTS}
    one, two = settings(row), settings(other)
    assert {name for name in one if one[name] != two[name]} == differ


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("bass",), "'bass' is not: did you mean 'base"),
        (("han", "han"), "--rows names 'han' twice"),
        (("zzz",), r"'zzz' is not: they are base, base_adv_skip, .*han"),
    ],
)
def test_a_row_that_is_none_is_refused(names: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        chosen(names)


def test_counterparts_are_rows() -> None:
    assert {name for each in COUNTERPARTS for name in (each.row, each.other)} <= {*ROWS, *ABLATIONS}
