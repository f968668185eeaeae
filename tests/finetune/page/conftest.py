"""Whole files whose parses are made up, for pages about them, and a browser to look at these."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from finetune.parses.events import Event, events_of
from finetune.parses.whole import ParsedClip, Whole
from shards.labels import CATEGORIES
from shards.schema import MODALITIES
from tests.finetune.page.browser import Browser, opened

DOG, CAR = CATEGORIES.index("Dog"), CATEGORIES.index("Car")


def clip(
    start: float,
    end: float,
    happens: Sequence[tuple[int, int, int, int]],
    absent: dict[str, list[int]] | None = None,
    **more: Any,
) -> ParsedClip:
    """A clip in which (modality, category, onset, offset) have the probability 0.9, and all else 0.1."""
    sure, lacking = np.full((2, len(CATEGORIES), int(np.ceil(end - start))), 0.1, np.float32), absent or {}
    for modality, category, onset, offset in happens:
        sure[modality, category, onset:offset] = 0.9
    curves = {
        name: {
            category: [None if s in lacking.get(name, ()) else round(float(p), 4) for s, p in enumerate(row)]
            for category, row in zip(CATEGORIES, of, strict=True)
        }
        for name, of in zip(MODALITIES, sure, strict=True)
    }
    events = [asdict(event) for event in events_of(sure > 0.5, sure)]
    parse = {"seconds": sure.shape[2], "events": events, "probabilities": {}, "absent": lacking, "curves": curves}
    return ParsedClip(f"x_{start:g}_{end:g}", start, end, parse, **more)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all pages: its start takes a second."""
    with opened(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def whole() -> Whole:
    """22.4 seconds: a dog is heard from 8 to 13, seen from 2 to 5, a car heard from 15 on; no sound from 18 on."""
    truth = (Event("Dog", "audio", 7, 10, 1.0),)
    return Whole(
        "my <b>clip</b> & co",
        "/videos/my clip.mp4",
        22.4,
        (
            clip(0, 10, [(0, DOG, 8, 10), (1, DOG, 2, 5)], truth=truth, notes=("Two frames are <damaged>.",)),
            clip(10, 20, [(0, DOG, 0, 3), (0, CAR, 5, 8)], {"audio": [8, 9]}),
            clip(20, 22.4, [], {"audio": [0, 1, 2]}),
        ),
    )
