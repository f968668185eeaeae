"""python -m launch demo_video                                # minutes on two cores (make demo-video)
python -m launch demo_video --weights ~/.cache/torch/hub/checkpoints

From video files to a page, each stage the command a user would type: films clips whose events are known, extracts their
features into shards, trains a parser on weak labels, and parses clips that it has not seen into pages with the truth
beside. Without the published weights the networks are random: they tell the filmed shapes and tones apart, and nothing
of the world.
"""

import time
from pathlib import Path
from typing import Literal

from pydantic import Field

from launch.chain import run, words
from launch.progress import say
from launch.settings import Settings
from launch.tracking import Tracking

RECIPE = "finetune/configs/han.toml"
SMALL = {"parser.width": 128, "parser.hidden": 128, "training.batch": 4}
"""Of 40 clips a parser of 512 learns its training labels by heart: validation segment Type@AV 67, with 128 it is 70."""
LOUD = (
    "NO WEIGHTS: the networks of this demo are RANDOM. They tell its shapes and tones apart, and nothing of the world. "
    "Give --weights DIR for the published ones."
)


class Config(Settings):
    """Films, extracts, trains and parses, and ends with pages to look at."""

    out: Path = Field(Path("demo-video"), description="folder for films, shards, parser and pages")
    train: int = Field(40, ge=1, description="clips to train on")
    validation: int = Field(8, ge=1, description="clips to choose the best epoch by")
    test: int = Field(2, ge=1, description="clips to parse")
    epochs: int = Field(150, ge=1, description="epochs of training; the learning rate falls after two thirds of them")
    images_per_second: Literal[1, 2, 4, 8] = Field(2, description="pictures of a second that ResNet-152 looks at")
    weights: Path | None = Field(
        None, description="folder with the networks' published weights; none: random ones, which is said loudly"
    )
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Runs every stage in turn; stops with the exit code of the first that fails."""
    start = time.monotonic()
    if config.weights is None:
        say(LOUD)
    where = words(**{"tracking.root": config.tracking.root, "tracking.uri": config.tracking.uri})
    for stage, arguments in chain(config):
        run(stage, [*arguments, *where, "--replace", "True"])
    say(f"Done in {(time.monotonic() - start) / 60:.1f} minutes.{f' {LOUD}' if config.weights is None else ''}")
    for page in sorted(config.out.glob("parsed/videos/*/page.html")):
        say(f"To look at in a browser: {page.resolve().as_uri()}")


def chain(config: Config) -> list[tuple[str, list[str]]]:
    """The stages in order with their arguments; the test clips are extracted by `parse`, as anybody's own would be."""
    out, counts = config.out, {name: getattr(config, name) for name in ("train", "validation", "test")}
    videos, tables, shards, parser = out / "films/videos", out / "films/tables", out / "shards", out / "parser"
    folder = config.weights or out / "no-weights"  # which is not there: what a cache holds would belie the demo's words
    missing, images = "refuse" if config.weights else "random", config.images_per_second
    networks = {"weights.folder": folder, "weights.missing": missing, "images_per_second": images}
    training = words(missing="skip", **SMALL, **_course(config.epochs))
    unseen = words(**{f"extract.{name}": value for name, value in networks.items()}, **{"extract.pattern": "*-test-*"})
    return [
        ("film", words(out=out / "films", **counts)),
        ("extract", [str(videos), *words(pattern="film-[tv][ra]*", out=shards, **networks)]),
        ("finetune", [RECIPE, *words(shards=shards, tables=tables, out=parser), *training]),
        ("parse", [str(videos), *words(parser=parser, out=out / "parsed", tables=tables, html=True), *unseen]),
    ]


def _course(epochs: int) -> dict[str, int]:
    return {"training.epochs": epochs, "training.decay_every": max(1, 2 * epochs // 3)}
