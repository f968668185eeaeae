"""Labels dropped from a modality whose loss is large while that of the other is small, as many as do not hold there.

After Cheng et al. (ECCV 2022). There labels are ranked within a batch; here among all videos with the label, by what
the epoch before saw of them, so that how many go does not depend on the size of a batch.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from finetune.cleaning.targets import OfModalities, Targets
from finetune.network.pooling import Parsed


class Denoise:
    """Knows, of each label, by how much the loss of a modality exceeds that of the other, and from where on it goes."""

    def __init__(
        self,
        labels: Float[Tensor, "video category"],
        noise: Float[Tensor, "modality category"],
        both: Bool[Tensor, " video"] | None = None,
    ) -> None:
        """`noise`: the share of each category's labels that do not hold in each modality.

        `both`: which videos have both modalities (None: all); with one alone there is nothing to compare, and of
        those no label goes.
        """
        self._noise, self._both = noise, both
        self._labels = labels if both is None else labels * both[:, None]
        self.excess = torch.zeros(2, *labels.shape, device=labels.device)
        self.limit = torch.full_like(noise, torch.inf)

    def apply(self, targets: Targets, parsed: Parsed, rows: Tensor) -> Targets:
        """The targets without the labels that go; notes the losses of this batch for the next epoch's limits."""
        loss = -torch.stack([parsed.audio, parsed.visual]).detach().log()
        excess = loss - loss.flip(0)
        if self._both is not None:
            excess = excess.where(self._both[rows, None], 0)
        self.excess[:, rows] = excess
        return replace(targets, each=targets.each.masked_fill(excess > self.limit[:, None], 0.0))

    def end_epoch(self) -> None:
        """Sets each limit where the noise ratio has it, and never below zero: the other modality must fit better."""
        for modality, category in torch.cartesian_prod(*map(torch.arange, self.limit.shape)).tolist():
            found = self.excess[modality, self._labels[:, category] > 0, category]
            if len(found):
                share = 1 - float(self._noise[modality, category])
                self.limit[modality, category] = torch.quantile(found, share).clamp(min=0)

    def state(self) -> dict[str, Tensor]:
        """What the next step depends on."""
        return {"excess": self.excess, "limit": self.limit}

    def take(self, state: dict[str, OfModalities]) -> None:
        """Goes to what `state` gave."""
        self.excess.copy_(state["excess"])
        self.limit.copy_(state["limit"])
