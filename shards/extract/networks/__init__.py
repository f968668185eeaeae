"""What a feature network is to the stage: something that turns a decoded clip into one row a second."""

from typing import Protocol

import numpy as np
from jaxtyping import Float

from shards.extract.decoding import Decoded, Picture
from shards.schema import Feature


class FeatureNetwork(Protocol):
    """A network with its weights on its device, and what it looks at or listens to."""

    @property
    def feature(self) -> Feature:
        """What it makes: name, width, variant (what must agree between corpora), source (weights and their digest)."""

    @property
    def modality(self) -> str:
        """ "audio" or "visual"."""

    @property
    def needs(self) -> Picture | int:
        """The frames it wants, or the sampling rate of the sound it wants."""

    def rows(self, decoded: Decoded) -> Float[np.ndarray, "second width"]:
        """One float32 row for each of the clip's seconds, zeros where the modality is absent."""
