"""The command line is taken apart before any setting is read."""

from pathlib import Path

import pytest

from launch.refusal import Refusal
from launch.words import Words


@pytest.mark.parametrize("on", [["--on", "slurm"], ["--on=slurm"]])
@pytest.mark.parametrize("dry", ["--dry-run", "--dry_run"])
def test_place_and_dry_run_may_stand_anywhere_and_are_no_words_of_the_stage(on: list[str], dry: str) -> None:
    words = Words.of(["pretrain", "a.toml", *on, "b.toml", "--seed", "3", dry, "--job.hosts", "2"])
    assert (words.stage, words.on, words.dry_run) == ("pretrain", "slurm", True)
    assert words.files == (Path("a.toml"), Path("b.toml"))
    assert words.arguments == ["a.toml", "b.toml", "--seed", "3", "--job.hosts", "2"]


def test_without_them_a_stage_runs_here() -> None:
    words = Words.of(["pack", "--out", "x"])
    assert (words.on, words.dry_run, words.files, words.arguments) == ("local", False, (), ["--out", "x"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--on", "slrum"], "names 'slrum': did you mean 'slurm'?"),
        (["--on=host"], "names 'host': did you mean 'hostfile'?"),
        (["--on", "xyz"], "names 'xyz': choose one of local, hostfile, slurm, kubernetes."),
        (["--on"], "names ''"),
    ],
)
def test_a_place_that_does_not_exist_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(Refusal) as refused:
        Words.of(["pack", *given])
    assert said in str(refused.value)


def test_a_stage_that_knows_no_job_gets_one_from_the_options_that_are_a_job_s() -> None:
    given = ["export", "a.toml", "--out", "x", "--job.slurm.partition", "gpu", "--job.hosts=2", "--seed", "1"]
    words, job = Words.of([*given, "--on", "slurm"]).without_job()
    assert words.arguments == ["a.toml", "--out", "x", "--seed", "1"]
    assert (words.on, job.slurm.partition, job.hosts) == ("slurm", "gpu", 2)
    with pytest.raises(Refusal, match=r"did you mean 'job\.hosts'\?"):
        Words.of(["export", "--job.host", "2", "--on", "slurm"]).without_job()
