"""An extraction without video: files that say what a decoder would find, and networks that average it.

`main` and `Config` are those of `extract`, so that it can be started as a process of its own, and killed.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from launch import tracking
from shards.extract import extract
from shards.extract.decoding import Decoded
from shards.extract.extract import Config
from shards.extract.making.means import Means
from shards.schema import Feature
from tests.shards.extract.fake_decoder import RATE, SIZE, Decoder, examine

HEARD, SEEN = Feature("loudness", 2, "", "a test's"), Feature("brightness", 3, "", "a test's")


@dataclass(frozen=True)
class Loudness:
    """Mean and mean size of the samples."""

    feature = HEARD
    modality = "audio"
    needs = RATE

    def rows(self, decoded: Decoded) -> np.ndarray:
        sound = decoded.sound[RATE].reshape(decoded.clip.seconds, RATE)
        return np.stack([sound.mean(1), np.abs(sound).mean(1)], 1) * decoded.present[0][:, None]


@dataclass(frozen=True)
class Brightness:
    """Means of the three colours."""

    feature = SEEN
    modality = "visual"
    needs = SIZE

    def rows(self, decoded: Decoded) -> np.ndarray:
        frames = decoded.frames[SIZE].reshape(decoded.clip.seconds, -1, 3)
        return frames.mean(1).astype(np.float32) * decoded.present[1][:, None]


def means(**changes: Any) -> Means:
    """What extracts from such files."""
    given = {
        "features": (HEARD, SEEN),
        "load": lambda: (Loudness(), Brightness()),
        "examine": examine,
        "decoder": Decoder(),
        "told": {"decoder": "fake"},
    }
    return Means(**given | changes)


def run(videos: Path, out: Path, **changes: Any) -> None:
    """Extracts without tracking, with some settings changed, by this process."""
    work = changes.pop("means", means())
    with_tracking, tracking.run = tracking.run, lambda *_, **__: nullcontext(tracking.Record(None))
    try:
        extract.extract(Config(**{"videos": (videos,), "out": out, "processes": 1, **changes}), work)
    finally:
        tracking.run = with_tracking


def main(config: Config) -> None:
    """The stage by these means."""
    extract.extract(config, means())
