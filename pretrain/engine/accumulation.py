"""Two passes: a global batch of any size in the memory of one micro-batch, with the gradient of the whole (GradCache,
Gao et al. 2021).

All pairs of the global batch are compared, so no micro-batch has a loss of its own. The first pass encodes all of them
and keeps the embeddings alone; the loss gives the gradient of every embedding; the second pass encodes each micro-batch
again and sends its embeddings' gradient on to the weights. Both passes see the same dropout, since it is drawn anew for
each micro-batch from its place in the run.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pretrain.engine.engine import Engine


@dataclass(frozen=True)
class Part:
    """Videos that are encoded at a time."""

    features: Mapping[str, Float[Tensor, "video second feature"]]
    seed: int
    """Of their dropout."""
    present: Bool[Tensor, "video modality second"] | None = None
    """Which of their snippets have which modality; None: all have both."""


class Passes:
    """The embeddings of this rank's videos, and the way of their gradient to the weights. Collective.

    Every rank has as many parts, some perhaps empty. A single one is encoded once and keeps its graph.
    """

    def __init__(self, engine: Engine, parts: Sequence[Part]) -> None:
        self._engine, self._parts, self._once = engine, parts, len(parts) == 1
        with torch.set_grad_enabled(self._once):
            self._first = [self._encode(part) for part in parts]
        self.audio, self.visual = (torch.cat(each).detach().requires_grad_() for each in zip(*self._first, strict=True))
        """Leaves, (video, second, width), not normalised."""

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Adds the weights' gradient of a loss of `audio` and `visual` to what the engine's next step takes. Once."""
        lengths = [len(audio) for audio, _ in self._first]
        gradients = [each.split(lengths) for each in torch.autograd.grad(loss, (self.audio, self.visual))]
        for index, part in enumerate(self._parts):
            embedded = self._first[index] if self._once else self._encode(part)
            sent = (rows * slope[index] for rows, slope in zip(embedded, gradients, strict=True))
            self._engine.backward(torch.stack([each.sum() for each in sent]).sum())

    def _encode(self, part: Part) -> tuple[Tensor, Tensor]:
        torch.manual_seed(part.seed)
        return self._engine.embed(part.features, part.present)


def dropout_seed(seed: int, step: int, position: int) -> int:
    """The seed of a micro-batch's dropout: a function of the run's seed, the step and where in the global batch it is.

    So a resumed run needs no state of a random generator, and a micro-batch draws the same on whichever rank it falls.
    """
    drawn = hashlib.sha256(f"dropout/{seed}/{step}/{position}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") >> 1
