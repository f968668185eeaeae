"""The demo of videos: which commands it runs, and that each stage knows every word it is given."""

from pathlib import Path

import pytest

from launch import demo_video
from launch.settings import load
from launch.stage import STAGES
from launch.words import Words


@pytest.mark.parametrize("weights", [None, Path("weights")])
def test_every_stage_accepts_what_the_demo_says_to_it(weights: Path | None) -> None:
    steps = demo_video.chain(demo_video.Config(weights=weights))
    assert [stage for stage, _ in steps] == ["film", "extract", "finetune", "parse"]
    for name, arguments in steps:
        stage = STAGES[name]
        settings, _ = stage.load()
        words = Words.of([name, *arguments]).about(stage.subject, settings)
        assert load(settings, words.files, words.options, name)


@pytest.mark.parametrize(("weights", "missing"), [(Path("w"), "refuse"), (None, "random")])
def test_weights_are_those_that_are_given_or_random_whatever_a_cache_holds(weights: Path | None, missing: str) -> None:
    steps = dict(demo_video.chain(demo_video.Config(weights=weights, out=Path("out"))))
    for stage, prefix in (("extract", "--"), ("parse", "--extract.")):
        said = dict(zip(steps[stage], steps[stage][1:], strict=False))
        assert said[f"{prefix}weights.missing"] == missing
        assert said[f"{prefix}weights.folder"] == ("w" if weights else "out/no-weights")


def test_the_clips_that_are_parsed_are_not_those_that_were_trained_on() -> None:
    steps = dict(demo_video.chain(demo_video.Config()))
    assert steps["extract"][steps["extract"].index("--pattern") + 1] == "film-[tv][ra]*"
    assert steps["parse"][steps["parse"].index("--extract.pattern") + 1] == "*-test-*"
