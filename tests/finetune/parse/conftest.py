"""Real video files, a parser of random weights, and `parse` with its stages in this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune import parse
from finetune.parser import Parser, ParserSettings
from launch import stage
from launch.settings import load
from launch.tracking import Tracking
from tests.shards.extract.fakes import HEARD, SEEN, means

pytest.importorskip("av", reason="PyAV, which reads video files, is not installed")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a file of 12.3 seconds, one of 1 second without sound, and one that is none."""
    from shards.extract.filming.encode import write_video

    folder = tmp_path_factory.mktemp("videos")
    (folder / "deep").mkdir()
    dice = np.random.default_rng(0)
    for name, seconds, sounds in (("long ü.mp4", 12.3, True), ("deep/-mute.mkv", 1.0, False)):
        frames = (np.full((48, 64, 3), dice.integers(255), np.uint8) for _ in range(round(10 * seconds)))
        sound = dice.uniform(-0.5, 0.5, round(16000 * seconds)).astype(np.float32) if sounds else None
        write_video(folder / name, frames, 10, sound, 16000)
    (folder / "none.mp4").write_text("This is no video.")
    return folder


@pytest.fixture
def ran() -> Iterator[list[str]]:
    """The stages that were run, each in this process; `extract` with small networks."""
    with stages_here() as found:
        yield found


@contextmanager
def stages_here() -> Iterator[list[str]]:
    """While inside, `parse` runs its stages in this process, and notes them."""
    from shards.extract import extract, media
    from shards.extract.decoding.opening import open_decoder

    found = list[str]()

    def run(name: str, arguments: list[str]) -> None:
        found.append(name)
        config_class, start = stage.find(name).load()
        config = load(config_class, (), arguments, "a test")
        if isinstance(config, extract.Config):
            extract.extract(config, means(examine=media.examine, decoder=open_decoder("pyav")))
        else:
            start(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parse, "run", run)
        patch.setattr(parse, "describe", lambda settings: [HEARD, SEEN])
        yield found


@pytest.fixture
def make(tmp_path: Path, videos: Path, store: Path) -> Callable[..., parse.Config]:
    """Settings that parse the folder, with some of them changed."""
    return lambda **values: made(tmp_path, store, **{"videos": (videos,)} | values)


def made(home: Path, store: Path, **values: Any) -> parse.Config:
    """Settings that parse `videos` with a parser beside the result."""
    given = {"parser": home / "parser", "out": home / "out"} | values
    if not given["parser"].exists():
        saved(given["parser"])
    where = Tracking(root=store, experiment=home.name)
    return parse.Config(tracking=where, extract={"processes": 1}, **given)


def saved(folder: Path, seed: int = 0, traits: dict[str, Any] | None = None, encoder: str = "") -> Path:
    """A parser of these features with random weights, spread around one half."""
    told = {one.name: {"width": one.width, "variant": one.variant, "encoder": ""} for one in (HEARD, SEEN)}
    told = traits or told
    audio, visual = told
    torch.manual_seed(seed)
    settings = ParserSettings(audio=(audio,), visual=(visual,), width=16, hidden=16)
    parser = Parser(settings, {name: int(of["width"]) for name, of in told.items()})
    with torch.no_grad():
        parser.pooling.probability.weight *= 4
    folder.mkdir()
    parser.save(folder, {"features": told, "videos": {"train": 3}})
    return folder
