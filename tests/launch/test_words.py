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


def test_what_a_stage_is_about_stands_by_itself_before_the_options() -> None:
    given = ["parse", "my clip.mp4", "base.toml", "./-x.mp4", "größe\n.mkv", "--parser", "runs/han", "--html"]
    words = Words.of(given).about("videos")
    assert words.files == (Path("base.toml"),)
    assert words.options == (
        "--videos", "my clip.mp4", "./-x.mp4", "größe\n.mkv", "--parser", "runs/han", "--html",
    )  # fmt: skip
    assert words.arguments == ["base.toml", *words.options]


@pytest.mark.parametrize("given", [["a.toml", "--videos=-x.mp4"], ["--videos", "a.mp4", "b.mp4"], []])
def test_a_subject_that_is_named_as_a_setting_stays_as_it_is(given: list[str]) -> None:
    words = Words.of(["parse", *given])
    assert words.about("videos") == words


def test_a_subject_that_is_named_both_ways_is_refused() -> None:
    for option in (["--videos", "b.mp4"], ["--videos=b.mp4"]):
        with pytest.raises(Refusal, match=r"said once, but 'a\.mp4' stands by itself and --videos names more"):
            Words.of(["parse", "a.mp4", *option]).about("videos")


def test_a_stage_without_a_subject_takes_settings_files_alone() -> None:
    words = Words.of(["pack", "my.mp4", "--out", "x"])
    assert words.about("") == words
    assert words.files == (Path("my.mp4"),)
