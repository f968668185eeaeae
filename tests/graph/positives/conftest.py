"""Sides of a graph straight from arrays, by brute force, and a planted world whose truth is known."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from graph.forests.forest import Edges, Forest
from graph.modality import Modality
from graph.rows.matrix import DIGEST, Matrix
from graph.search.neighbours import Neighbours
from shards.schema import SECONDS


@dataclass(frozen=True)
class World:
    """Two modalities and the classes that were planted in them."""

    sides: tuple[Modality, Modality]
    sound: np.ndarray
    picture: np.ndarray

    def at(self, audio: float, visual: float) -> list[Modality]:
        """The sides with these thresholds."""
        return [replace(side, threshold=chosen) for side, chosen in zip(self.sides, (audio, visual), strict=True)]

    def wrong(self, ids: np.ndarray) -> float:
        """The share of same-component pairs of two videos that share neither sound nor picture, by enumeration."""
        pairs = np.argwhere(np.triu(ids[:, None] == ids, 1))
        first, second = pairs[pairs[:, 0] // SECONDS != pairs[:, 1] // SECONDS].T
        neither = (self.sound[first] != self.sound[second]) & (self.picture[first] != self.picture[second])
        return float(neither.mean()) if len(first) else 0.0


@pytest.fixture(scope="session")
def side_of() -> Callable[..., Modality]:
    """The side of rows (snippet, width): exhaustive forest, full lists of k neighbours; `without` gets no edges."""

    def build(
        rows: np.ndarray,
        threshold: float = 0.8,
        floor: float = 0.5,
        k: int = 8,
        without: np.ndarray | None = None,
        name: str = "audio",
    ) -> Modality:
        stored = rows.astype(np.float16)
        matrix = Matrix("rows", "none", stored, ~stored.any(axis=1), np.zeros((len(rows), DIGEST), np.uint8))
        barred = matrix.zero if without is None else matrix.zero | without
        everything = np.arange(len(rows))
        cosine = matrix.tile(everything, everything)
        first, second = np.nonzero(np.triu(cosine > floor, 1) & ~barred & ~barred[:, None])
        edges = Edges(first.astype(np.int32), second.astype(np.int32), cosine[first, second])
        np.fill_diagonal(cosine, -np.inf)
        near = np.argsort(-cosine, axis=1, kind="stable")[:, :k].astype(np.int32)
        similar = np.take_along_axis(cosine, near, 1)
        near[similar <= floor], similar[similar <= floor] = -1, -np.inf
        none = np.zeros(len(rows), bool)
        forest = Forest.empty(len(rows)).merge(edges)
        return Modality(
            name=name,
            matrix=matrix,
            threshold=threshold,
            floor=floor,
            forest=forest,
            neighbours=Neighbours(near, similar),
            bar=np.maximum(similar[:, -1], np.float32(floor)),
            hubs=none,
            without=barred,
            saturated=none,
            copies=0,
            engine="brute force",
            exact=True,
        )

    return build


@pytest.fixture(scope="session")
def planted(side_of: Callable[..., Modality]) -> Callable[..., World]:
    """Videos of planted classes: each sounds and looks like its class, but for a share that looks like another one."""

    def build(
        videos: int = 300, classes: int = 30, mismatched: float = 0.3, noise: float = 0.5, seed: int = 0
    ) -> World:
        random = np.random.default_rng(seed)
        sound = random.integers(classes, size=videos)
        picture = np.where(random.random(videos) < mismatched, random.integers(classes, size=videos), sound)
        sides = []
        for name, width, kind in (("audio", 32, sound), ("visual", 48, picture)):
            prototypes = random.normal(size=(classes, width))
            own = noise * random.normal(size=(videos, 1, width)) + 0.3 * random.normal(size=(videos, SECONDS, width))
            sides.append(side_of((prototypes[kind][:, None] + own).reshape(-1, width), k=32, name=name))
        return World((sides[0], sides[1]), np.repeat(sound, SECONDS), np.repeat(picture, SECONDS))

    return build
