"""The file of results: a line is whole or not there, and stands for the settings it was made with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.reproduction.results import Identity, Result, Results, newest
from launch.refusal import Refusal

USUAL = {"training.epochs": 40, "parser.gcaa": False}


def identity(row: str = "han", seed: int = 0, **settings: Any) -> Identity:
    whole = {"training.epochs": 40, **{name.replace("_", ".", 1): value for name, value in settings.items()}}
    return Identity(row, seed, whole, 1, {"test": "aa"}, {"AVVP_test_pd.csv": "bb"}, "")


def result(of: Identity, code: str = "one") -> Result:
    kinds = {"audio": 60.0, "type_at_av": 55.5}
    scores = {"segment": kinds, "event": kinds, "exclusive": {"segment": {"audible_only": 1.5}}}
    return Result(of, "abc", code, {}, scores, {"audio": [None, 5.0]}, {"segment": kinds}, 3, None, {"finetune": 1.0})


def test_what_is_appended_is_read_again_in_order(tmp_path: Path) -> None:
    results, written = Results(tmp_path / "new" / "r.jsonl"), [result(identity(seed=seed)) for seed in range(3)]
    assert results.read() == []
    for each in written:
        results.append(each)
    assert results.read() == written
    first = json.loads(results.path.read_text().splitlines()[0])
    assert (first["row"], first["seed"], first["settings"]["training.epochs"]) == ("han", 0, 40)
    assert first["key"] == written[0].identity.key


@pytest.mark.parametrize("kept", [1, 40, -2])
def test_a_torn_last_line_is_left_out_with_a_sentence_and_the_next_one_takes_its_place(
    tmp_path: Path, kept: int, capsys: pytest.CaptureFixture[str]
) -> None:
    results, first, second = Results(tmp_path / "r.jsonl"), result(identity()), result(identity(seed=1))
    results.append(first)
    with results.path.open("a") as file:
        file.write(second.line()[:kept])
    assert results.read() == [first]
    assert "was torn when its writer died" in capsys.readouterr().out
    results.append(second)
    assert results.read() == [first, second]
    assert "torn" not in capsys.readouterr().out


def test_a_last_line_that_only_lacks_its_end_is_whole(tmp_path: Path) -> None:
    results, first, second = Results(tmp_path / "r.jsonl"), result(identity()), result(identity(seed=1))
    results.path.write_text(first.line())
    assert results.read() == [first]
    results.append(second)
    assert results.read() == [first, second]


@pytest.mark.parametrize("spoil", [lambda line: line[:30], lambda line: line.replace('"seed": 0', '"seed": 7')])
def test_any_other_line_that_is_no_result_is_refused_by_its_number(tmp_path: Path, spoil: Any) -> None:
    results, line = Results(tmp_path / "r.jsonl"), result(identity()).line()
    results.path.write_text(f"{line}\n{spoil(line)}\n{line}\n")
    with pytest.raises(Refusal, match=r"line 2 of '.*r\.jsonl' is not .*remove that line, or give another --results"):
        results.read()


@pytest.mark.parametrize(
    "other",
    [
        identity(training_epochs=8),
        identity(row="base"),
        identity(seed=1),
        identity(parser_gcaa=True),
        replace(identity(), generator=None),
        replace(identity(), manifests={"test": "ff"}),
        replace(identity(), tables={"AVVP_test_pd.csv": "ff"}),
        replace(identity(), encoder="cc"),
    ],
)
def test_a_result_stands_for_all_that_its_scores_depend_on(other: Identity) -> None:
    made = result(identity())
    assert newest(identity(), [made], USUAL) is made
    assert newest(other, [made], USUAL) is None
    assert other.key != identity().key
    assert other.short(USUAL) != identity().short(USUAL)


def test_an_option_that_came_later_makes_no_other_result_unless_it_is_used() -> None:
    made, usual = result(identity()), {**USUAL, "cleaning.mixup": 0.0}
    assert newest(identity(cleaning_mixup=0.0), [made], usual) is made
    assert newest(identity(cleaning_mixup=0.5), [made], usual) is None
    assert identity(cleaning_mixup=0.0).short(usual) == identity().short(USUAL)


def test_a_default_that_changed_since_does_not_take_over_an_old_result() -> None:
    made, usual = result(identity()), {**USUAL, "training.epochs": 20}
    assert newest(identity(training_epochs=20), [made], usual) is None


def test_the_newest_of_equals_counts_and_only_that_of_the_code_that_is_asked_for() -> None:
    made = [result(identity(), "one"), result(identity(), "two")]
    assert newest(identity(), made, USUAL) is made[1]
    assert newest(identity(), made, USUAL, "one") is made[0]
    assert newest(identity(), made, USUAL, "three") is None


def test_scores_have_paths() -> None:
    flat = result(identity()).flat()
    assert flat["segment/type_at_av"] == 55.5
    assert flat["exclusive/segment/audible_only"] == 1.5


def test_a_line_that_is_finished_while_it_is_read_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = result(identity()).line() + "\n"
    texts = iter([whole + whole[:40], whole + whole])
    monkeypatch.setattr(Results, "_text", lambda _: next(texts))
    assert Results(tmp_path / "r.jsonl").read() == [result(identity())]
