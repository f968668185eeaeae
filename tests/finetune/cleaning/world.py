"""A small world for label cleaning: what is heard shows in the audio features, what is seen in the visual ones."""

from pathlib import Path

import numpy as np
import torch

from finetune.batches import Split
from finetune.parser import Parser, ParserSettings
from shards.labels import CATEGORIES

SETTINGS = ParserSettings(audio=("sound",), visual=("frames",), architecture="han", width=16, hidden=16, dropout=0.0)
COUNT = len(CATEGORIES)


def make_parser() -> Parser:
    return Parser(SETTINGS, {"sound": COUNT, "frames": COUNT})


def world(videos: int, seed: int = 0, noise: float = 0.3) -> tuple[Split, torch.Tensor]:
    """A training split, and which labels hold in which modality: (modality, video, category)."""
    dice = np.random.default_rng(seed)
    chance = np.full((2, 1, COUNT), 0.08)
    chance[:, 0, 0] = 0.3, 0.1  # the first category is mostly heard
    true = dice.random((2, videos, COUNT)) < chance
    rows = true[:, :, None].repeat(10, 2) + noise * dice.standard_normal((2, videos, 10, COUNT))
    features = {name: torch.from_numpy(rows[m]).half() for m, name in enumerate(("sound", "frames"))}
    labels = torch.from_numpy(true.any(axis=0)).float()
    nothing = np.zeros((videos, COUNT, 10), bool)
    keys = tuple(f"v{number}_0_10" for number in range(videos))
    split = Split("train", keys, (), features, labels, (nothing, nothing), None, None)  # type: ignore[arg-type]
    return split, torch.from_numpy(true)


def write_pseudo(folder: Path, keys: tuple[str, ...], seed: int = 0) -> torch.Tensor:
    """Random pseudo-labels in their two folders, and what is in them: (modality, video, second, category)."""
    values = np.random.default_rng(seed).random((2, len(keys), 10, COUNT)).round(2)
    for modality, each in zip(("audio", "visual"), values, strict=True):
        (folder / modality).mkdir(parents=True)
        for key, value in zip(keys, each, strict=True):
            np.save(folder / modality / f"{key.rsplit('_', 2)[0]}.npy", value)
    return torch.from_numpy(values).float()
