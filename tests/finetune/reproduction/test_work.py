"""What is there is never made twice: stopped and gone on with, shared, failed and passed over."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from finetune import reproduce
from finetune.reproduction import sources, trials
from launch.chain import Failed
from launch.lock import held
from tests.finetune.conftest import Corpus
from tests.finetune.reproduction.conftest import ROWS, Stages, both, lines


def test_what_is_there_is_not_made_again_and_shown_alike(
    settings: Callable[..., reproduce.Config], stages: Stages
) -> None:
    config = settings()
    reproduce.main(config)
    before = (config.out / "tables.md").read_text()
    stages.again()
    reproduce.main(settings(out=config.out.with_name("elsewhere")))
    assert stages.again() == []
    assert (config.out.with_name("elsewhere") / "tables.md").read_text() == before
    assert len(lines(config)) == 2


@pytest.mark.parametrize(
    ("dies_at", "left"),
    [(3, both("pretrain_multi")), (4, [("evaluate", "pretrain_multi")]), (1, both("han") + both("pretrain_multi"))],
)
def test_a_stopped_reproduction_goes_on_where_it_was_in_the_same_run(
    settings: Callable[..., reproduce.Config], stages: Stages, corpus: Corpus, dies_at: int, left: list[tuple[str, str]]
) -> None:
    config, stages.dies_at = settings(), dies_at
    with pytest.raises(KeyboardInterrupt):
        reproduce.main(config)
    client, (parent,) = corpus.runs()[0], [each for each in corpus.runs()[1] if each.data.tags["stage"] == "reproduce"]
    assert parent.info.status == "KILLED"
    stages.again()
    reproduce.main(config)
    assert stages.again() == left
    assert [each.identity.row for each in lines(config)] == list(ROWS)
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    assert sum(each.data.tags["stage"] == "reproduce" for each in corpus.runs()[1]) == 1


def test_other_settings_make_other_lines_and_the_tables_show_only_their_own(
    settings: Callable[..., reproduce.Config], stages: Stages
) -> None:
    reproduce.main(settings(rows=("han",)))
    config = settings(rows=("han",), training={"epochs": 2, "precision": "bfloat16"})
    reproduce.main(config)
    assert [each.identity.settings["training.epochs"] for each in lines(config)] == [1, 2]
    assert stages.again() == both("han") * 2
    assert lines(config)[1].identity.settings["training.precision"] == "bfloat16"
    assert "2 epochs" in (config.out / "tables.md").read_text()
    assert "1 epochs" not in (config.out / "tables.md").read_text()


def test_lines_of_other_code_are_taken_with_a_sentence_or_made_again(
    settings: Callable[..., reproduce.Config],
    stages: Stages,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = settings(rows=("han",))
    reproduce.main(config)
    assert "are by other code" not in capsys.readouterr().out
    monkeypatch.setattr(reproduce, "code", lambda: "another")
    monkeypatch.setattr(trials, "code", lambda: "another")
    stages.again()
    reproduce.main(config)
    assert "Some of these results are by other code" in capsys.readouterr().out
    assert stages.again() == []
    reproduce.main(settings(rows=("han",), same_code=True))
    assert stages.again() == both("han")
    assert [each.code == "another" for each in lines(config)] == [False, True]


def test_a_row_that_another_process_is_at_is_left_to_it_until_all_else_is_made(
    settings: Callable[..., reproduce.Config], stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings()
    reproduce.main(settings(rows=("han",)))
    (lock,) = (config.out / "parsers").glob(".han-0-*.lock")
    assert config.results
    config.results.unlink()
    stages.again()
    with ExitStack() as elsewhere:
        elsewhere.enter_context(held(lock, "it"))
        stages.ends["evaluate", "pretrain_multi"] = elsewhere.close
        reproduce.main(config)
    assert stages.again() == both("pretrain_multi"), "han's parser and scores were there, and only its line was not"
    assert [each.identity.row for each in lines(config)] == ["pretrain_multi", "han"]
    assert "Row 'han' with seed 0 is being made by another process: left to it for now" in capsys.readouterr().out


def test_a_failed_trial_is_told_and_the_others_are_made(
    settings: Callable[..., reproduce.Config], stages: Stages, corpus: Corpus
) -> None:
    config = settings()
    stages.ends["finetune", "han"] = lambda: ends(Failed("finetune", 1))
    with pytest.raises(ChildProcessError, match=r"'han' with seed 0 \(finetune ended with exit code 1\)"):
        reproduce.main(config)
    assert stages.again() == [("finetune", "han"), *both("pretrain_multi")]
    assert [each.identity.row for each in lines(config)] == ["pretrain_multi"]
    table = (config.out / "tables.md").read_text()
    assert "| failed | seed 0: finetune ended with exit code 1 | HAN [1] |" in table
    status = {run.data.tags.get("row", run.data.tags["stage"]): run.info.status for run in corpus.runs()[1]}
    assert status == {"reproduce": "FAILED", "han": "FAILED", "pretrain_multi": "FINISHED"}
    reproduce.main(config)
    assert stages.again() == [("evaluate", "han")]
    assert "| failed |" not in (config.out / "tables.md").read_text()


@pytest.mark.parametrize("code", [75, 130, 137, 143])
def test_a_stage_that_was_stopped_or_killed_ends_everything(
    settings: Callable[..., reproduce.Config], stages: Stages, code: int
) -> None:
    stages.ends["finetune", "han"] = lambda: ends(SystemExit(code))
    with pytest.raises(SystemExit) as leaving:
        reproduce.main(settings())
    assert leaving.value.code == code
    assert stages.again() == [("finetune", "han")]


def test_an_encoder_that_cannot_be_made_is_tried_once_and_the_rows_without_it_are_made(
    settings: Callable[..., reproduce.Config], stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = list[str]()

    def fail(stage: str, arguments: object, holds: object) -> float:
        tried.append(stage)
        raise Failed(stage, 2)

    monkeypatch.setattr(sources, "run", fail)
    rows = ("pretrain_multi", "pretrain_multi_end_to_end", "han")
    with pytest.raises(ChildProcessError, match=r"'pretrain_multi' with seed 1 \(its encoder or embeddings: graph"):
        reproduce.main(settings(rows=rows, embeddings=None, seeds=2))
    assert tried == ["graph"]
    assert stages.again() == both("han") * 2


def test_committed_lines_of_embeddings_are_shown_where_their_encoder_is_not_here_and_nothing_is_trained(
    settings: Callable[..., reproduce.Config], stages: Stages
) -> None:
    config = settings()
    reproduce.main(config)
    stages.again()
    elsewhere = settings(embeddings=None, out=config.out.with_name("elsewhere"), tables_only=True, seeds=2)
    reproduce.main(elsewhere)
    assert stages.again() == []
    table = (elsewhere.out / "tables.md").read_text()
    (row,) = [line for line in table.splitlines() if line.startswith("| Pretrain (multi) |") and "60.8" in line]
    assert row.endswith("| 0 – |")
    assert "| encoder | e0e0, of which nothing else is known here | Pretrain (multi) |" in table
    other = settings(embeddings=None, out=config.out.with_name("other"), tables_only=True, training={"epochs": 2})
    reproduce.main(other)
    assert "e0e0" not in (other.out / "tables.md").read_text(), "all else must be equal"


def test_a_training_that_went_on_with_other_code_is_told_by_both(
    settings: Callable[..., reproduce.Config], stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(rows=("han",))
    for code in ("one", "two", "two"):
        monkeypatch.setattr(trials, "code", lambda code=code: code)
        stages.ends["finetune", "han"] = lambda: ends(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            reproduce.main(config)
        for parser in (config.out / "parsers").glob("han-*/"):
            shutil.rmtree(parser)
    stages.again()
    reproduce.main(config)
    assert [each.code for each in lines(config)] == ["one then two"]


def ends(how: BaseException) -> None:
    raise how
