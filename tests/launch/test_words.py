"""The command line is taken apart before any setting is read."""

from pathlib import Path

import pytest

from launch.refusal import Refusal
from launch.settings import Settings
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


class Parse(Settings):
    """A stage that is about videos."""

    videos: tuple[Path, ...]
    parser: Path = Path("runs/han")
    html: bool = False
    seed: int | None = None


class Lineage(Settings):
    """A stage that is about one thing."""

    of: Path | None = None
    run: str = ""


def test_what_a_stage_is_about_stands_by_itself_before_the_options() -> None:
    given = ["parse", "my clip.mp4", "base.toml", "./-x.mp4", "größe\n.mkv", "--parser", "runs/han", "--html"]
    words = Words.of(given).about("videos", Parse)
    assert words.files == (Path("base.toml"),)
    assert words.options == (
        "--videos", "my clip.mp4", "./-x.mp4", "größe\n.mkv", "--parser", "runs/han", "--html",
    )  # fmt: skip
    assert words.arguments == ["base.toml", *words.options]


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (["--html", "a.mp4"], ["--html"]),
        (["--html", "True", "a.mp4", "--seed", "-1"], ["--html", "True", "--seed", "-1"]),
        (["--parser", "runs/han", "a.mp4"], ["--parser", "runs/han"]),
        (["--parser=runs/han", "a.mp4", "--html"], ["--parser=runs/han", "--html"]),
    ],
)
def test_what_stands_behind_an_option_that_takes_no_more_is_what_the_stage_is_about(
    given: list[str], options: list[str]
) -> None:
    words = Words.of(["parse", "first.mp4", *given]).about("videos", Parse)
    assert words.options == ("--videos", "first.mp4", "a.mp4", *options)
    assert Words.of(["parse", *given]).about("videos", Parse).options == ("--videos", "a.mp4", *options)


@pytest.mark.parametrize("given", [["a.toml", "--videos=-x.mp4"], ["--videos", "a.mp4", "b.mp4"], [], ["--htm", "x"]])
def test_a_subject_that_is_named_as_a_setting_stays_as_it_is(given: list[str]) -> None:
    words = Words.of(["parse", *given])
    assert words.about("videos", Parse) == words


def test_a_subject_that_is_named_both_ways_is_refused() -> None:
    for given in (["a.mp4", "--videos", "b.mp4"], ["a.mp4", "--videos=b.mp4"], ["--videos=b.mp4", "--html", "a.mp4"]):
        with pytest.raises(Refusal, match=r"said once, but 'a\.mp4' stands by itself and --videos names more"):
            Words.of(["parse", *given]).about("videos", Parse)


def test_a_stage_that_is_about_one_thing_takes_one() -> None:
    assert Words.of(["lineage", "--run", "", "x"]).about("of", Lineage).options == ("--of", "x", "--run", "")
    with pytest.raises(Refusal, match="about one thing at a time, but 'y' is another"):
        Words.of(["lineage", "x", "y"]).about("of", Lineage)


def test_a_stage_without_a_subject_takes_settings_files_alone() -> None:
    words = Words.of(["pack", "my.mp4", "--out", "x"])
    assert words.about("", Parse) == words
    assert words.files == (Path("my.mp4"),)


@pytest.mark.parametrize(("subject", "word"), [("", "x"), ("", "a.toml"), ("videos", "a.toml")])
def test_a_word_behind_the_options_that_is_nobody_s_is_refused(subject: str, word: str) -> None:
    with pytest.raises(Refusal, match=rf"'{word}' is none: settings files \(\.toml\) stand before all options"):
        Words.of(["finetune", "--html", word]).about(subject, Parse)
