"""Decoded clips for networks, made of noise: no file is read."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from shards.extract.clips import Clip
from shards.extract.decoding import FRAMES_PER_SECOND, Decoded, Picture, Wanted


def noise(
    wanted: Wanted, seconds: int = 1, seed: int = 0, absent: Sequence[tuple[int, int]] = (), size: int | None = None
) -> Decoded:
    """A clip of noise; `absent` are (modality, second) where nothing is, which a network must not look at.

    Frames of another `size` than is wanted cost less, and go through a convolutional network as well.
    """
    dice, present = np.random.default_rng(seed), np.ones((2, seconds), bool)
    for modality, second in absent:
        present[modality, second] = False
    return Decoded(
        Clip(f"noise_0_{seconds}", 0.0, float(seconds)),
        {each: blobs(dice, seconds * FRAMES_PER_SECOND, size or each.size) for each in wanted.pictures},
        {rate: dice.normal(0, 0.1, seconds * rate).astype(np.float32) for rate in wanted.rates},
        present,
    )


def heard(sound: np.ndarray, rate: int) -> Decoded:
    """A clip of this sound, at least a second of it."""
    seconds = len(sound) // rate
    return Decoded(Clip(f"sound_0_{seconds}", 0.0, float(seconds)), {}, {rate: sound}, np.ones((2, seconds), bool))


def seen(frames: np.ndarray, picture: Picture) -> Decoded:
    """A clip of these frames."""
    seconds = len(frames) // FRAMES_PER_SECOND
    return Decoded(Clip(f"frames_0_{seconds}", 0.0, float(seconds)), {picture: frames}, {}, np.ones((2, seconds), bool))


def blobs(dice: np.random.Generator, frames: int, size: int) -> np.ndarray:
    """Pictures of sixteen coloured squares, each its own."""
    coarse = dice.integers(0, 256, (frames, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(size // 4, axis=1).repeat(size // 4, axis=2)


def shapes_of(build: type[nn.Module]) -> dict[str, tuple[int, ...]]:
    """The names and shapes of all that a module's file of weights holds; nothing is filled."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}


def size_of(build: type[nn.Module]) -> int:
    """How many learned numbers a module has."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """What a file holds of a batch normalisation."""
    each = {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**each, f"{name}.num_batches_tracked": ()}
