"""Pseudo-labels of seconds that another model made: two folders of small arrays, as VALOR's authors keep them.

FOLDER/audio/<id>.npy      (10, 25): one row a second, one column a category, in LLP's order, 0 to 1
FOLDER/visual/<id>.npy

What they say of categories that a video is not labelled with, or of seconds that it does not have, is not learnt.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from finetune.cleaning.targets import Labels, OfModalities, OfSeconds
from launch.progress import track
from launch.refusal import Refusal
from shards.labels import CATEGORIES
from shards.schema import MODALITIES, SECONDS
from shards.tables import feature_id

SHAPE = (SECONDS, len(CATEGORIES))


def read_pseudo_labels(folder: Path, keys: Sequence[str]) -> OfSeconds:
    """The pseudo-labels of these videos; raises Refusal at the first file that is missing or not such an array."""
    ids = [feature_id(key) for key in keys]
    rows = [
        [_read(folder / modality / f"{name}.npy") for name in track(ids, f"reading {modality} pseudo-labels")]
        for modality in MODALITIES
    ]
    return torch.from_numpy(np.array(rows, np.float32))


def labels_of(seconds: OfSeconds, labels: Labels) -> OfModalities:
    """What pseudo-labels say of the modalities of each video: their largest second, where the video has the label.

    A label that they find in neither modality stays in both: it must hold somewhere.
    """
    each = seconds.amax(dim=2) * labels
    nowhere = (each.amax(dim=0) == 0) & (labels > 0)
    return torch.where(nowhere, labels, each)


def digest(seconds: OfSeconds) -> str:
    """What identifies pseudo-labels: the sha256 of their values."""
    return hashlib.sha256(seconds.cpu().numpy().tobytes()).hexdigest()


def _read(path: Path) -> Float[np.ndarray, "second category"]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Refusal(
            f"Every training video must have pseudo-labels, but '{path}' cannot be read ({error}): "
            "make them for all videos of the training table, or leave cleaning.pseudo out."
        ) from None
    numeric = found.dtype.kind in "fiub"
    if found.shape != SHAPE or not numeric or not ((found >= 0) & (found <= 1)).all():
        values = f"values from {found.min()} to {found.max()}" if numeric and found.size else f"type {found.dtype}"
        raise Refusal(
            f"Pseudo-labels of a video must be {SHAPE[0]} × {SHAPE[1]} numbers from 0 to 1 (seconds × categories in "
            f"the order of LLP), but '{path}' holds {' × '.join(map(str, found.shape))}, {values}: make it again."
        )
    return found.astype(np.float32)
