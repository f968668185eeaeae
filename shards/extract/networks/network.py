"""Running a network: from a decoded clip to one row a second, a few inputs at a time, and zeros where nothing is."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from shards.extract.decoding import FRAMES_PER_SECOND, Decoded, Picture
from shards.schema import MODALITIES, Feature


class Network(ABC):
    """A module on its device. A clip is encoded by itself, so what comes of it does not depend on its neighbours."""

    def __init__(
        self, feature: Feature, needs: Picture | int, module: nn.Module, device: torch.device, at_once: int
    ) -> None:
        """`at_once`: inputs (as `inputs` makes them) a forward pass at most."""
        self.feature, self.needs, self.device = feature, needs, device
        self.modality = "audio" if isinstance(needs, int) else "visual"
        self._module, self._at_once = module.to(device).eval(), max(1, at_once)

    @abstractmethod
    def inputs(self, decoded: Decoded, seconds: np.ndarray) -> np.ndarray:
        """What the module reads of these seconds: equally many inputs for each, whose rows are averaged."""

    def rows(self, decoded: Decoded) -> Float[np.ndarray, "second width"]:
        """One float32 row for each of the clip's seconds, zeros where the modality is absent."""
        present = decoded.present[MODALITIES.index(self.modality)]
        rows = np.zeros((len(present), self.feature.width), np.float32)
        seconds = np.flatnonzero(present)
        if seconds.size:
            rows[seconds] = self._encode(self.inputs(decoded, seconds), seconds.size)
        return rows

    @torch.inference_mode()
    def _encode(self, inputs: np.ndarray, seconds: int) -> Float[np.ndarray, "second width"]:
        # TF32 would keep 10 bits of what the published features were computed with
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            parts = [
                self._module(torch.from_numpy(np.ascontiguousarray(some)).to(self.device)).float()
                for some in np.split(inputs, range(self._at_once, len(inputs), self._at_once))
            ]
        every = torch.cat(parts).reshape(seconds, -1, self.feature.width)
        return np.asarray(every.mean(dim=1).cpu().numpy())


class _Seeing(Network):
    needs: Picture

    def _by_second(self, decoded: Decoded) -> UInt8[np.ndarray, "second frame height width 3"]:
        frames = decoded.frames[self.needs]
        return frames.reshape(-1, FRAMES_PER_SECOND, *frames.shape[1:])


class Frames(_Seeing):
    """Looks at frames one by one; a second's rows are averaged."""

    def __init__(
        self, feature: Feature, needs: Picture, module: nn.Module, device: torch.device, at_once: int, images: int
    ) -> None:
        """`images`: how many of a second's frames are looked at, evenly spread; a divisor of FRAMES_PER_SECOND."""
        super().__init__(feature, needs, module, device, at_once)
        every = FRAMES_PER_SECOND // images
        self._chosen = slice(every // 2, None, every)

    def inputs(self, decoded: Decoded, seconds: np.ndarray) -> UInt8[np.ndarray, "frame height width 3"]:
        """The chosen frames of these seconds."""
        frames = self._by_second(decoded)[seconds, self._chosen]
        return frames.reshape(-1, *frames.shape[2:])


class Stacks(_Seeing):
    """Looks at a second's frames together."""

    def __init__(
        self, feature: Feature, needs: Picture, module: nn.Module, device: torch.device, frames_at_once: int
    ) -> None:
        super().__init__(feature, needs, module, device, frames_at_once // FRAMES_PER_SECOND)

    def inputs(self, decoded: Decoded, seconds: np.ndarray) -> UInt8[np.ndarray, "second frame height width 3"]:
        """A stack of frames for each of these seconds."""
        return self._by_second(decoded)[seconds]


class Normalised(nn.Module):
    """A network behind the scaling of its pictures: RGB of 0 to 255, channels last, to what it was trained on."""

    def __init__(self, network: nn.Module, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        """`mean` and `deviation` are of red, green and blue in [0, 1]."""
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (picture, height, width, 3) or stacks of them (stack, picture, height, width, 3)."""
        scaled = (pictures.float() / 255 - self.mean) / self.deviation
        return self.network(scaled.movedim(-1, 1))
