"""Which seconds of some videos are present: (video, second) where both modalities are, or none, in each of them; else
(modality, video, second). None says that everything is: then nothing has to be masked.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from finetune.network.attention import Present
from shards.present import snippets_there


def present_seconds(
    keys: Sequence[str],
    device: torch.device | None,
    told: Bool[np.ndarray, "modality video second"] | None = None,
) -> Present | None:
    """What is present by the times in the videos' keys and, where their set says more, by what it told of them."""
    there = snippets_there(keys, told)
    if there.all():
        return None
    alike = bool((there[0] == there[1]).all())
    return torch.from_numpy(there[0] if alike else there).to(device)


def lacking(present: Present | None) -> str:
    """How many videos have nothing of a modality, in a sentence; no word where none has."""
    has = having(present)
    mute, dark = (0, 0) if has is None else (~has).sum(dim=1).tolist()
    return f" {mute:,} of them have no sound, {dark:,} no picture." if mute or dark else ""


def having(present: Present | None) -> Bool[Tensor, "modality video"] | None:
    """Which videos have any second of each modality; None where all have both."""
    return None if present is None or present.dim() == 2 else present.any(dim=2)


def rows_there(
    values: Shaped[Tensor, "modality video second *rest"], present: Present | None
) -> Shaped[Tensor, "row *rest"]:
    """The rows of all seconds that are present: those of the audio, then those of the picture."""
    if present is None:
        return values.flatten(0, 2)
    return values[:, present].flatten(0, 1) if present.dim() == 2 else values[present]
