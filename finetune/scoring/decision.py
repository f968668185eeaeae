"""From the probabilities of a parser to a parse: what the literature does in several ways, as settings."""

from typing import Any, Literal

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor

from finetune.network.pooling import Parsed
from finetune.scoring.thresholds import FITTED_ON, Thresholds
from launch.settings import Settings


class Protocol(Settings):
    """From probabilities to a parse; printed with every score, since the literature differs here."""

    gate: Literal["global", "per_modality", "none"] = Field(
        "global",
        description="which video-level probability must reach the threshold too: global: p of the video (HAN, MGN, "
        "VALOR); per_modality: p_audio, p_visual (MA, JoMoLD); none: no gate",
    )
    threshold: float = Field(0.5, ge=0, le=1, description="a probability this high, or higher, is positive")
    gate_threshold: float | None = Field(
        None, ge=0, le=1, description="the video-level probability that opens the gate; as threshold when absent"
    )
    thresholds: Literal["fixed", "per_class"] = Field(
        "fixed",
        description="what seconds are held to: fixed: threshold; per_class: one a modality and category, which "
        "finetune fitted on validation and the parser brings along",
    )

    @property
    def fixed(self) -> "Protocol":
        """The same with fixed thresholds: what epochs are compared by, before any can be fitted."""
        return self.model_copy(update={"thresholds": "fixed"})

    @property
    def opens_at(self) -> float:
        """The video-level probability that opens the gate; 0 without a gate."""
        return 0.0 if self.gate == "none" else self.threshold if self.gate_threshold is None else self.gate_threshold

    @property
    def fitted_under(self) -> dict[str, Any]:
        """What fitted thresholds depend on."""
        return {"split": FITTED_ON, "gate": self.gate, "gate_threshold": self.opens_at}


def decide(
    parsed: Parsed, protocol: Protocol, thresholds: Thresholds | None = None
) -> Bool[Tensor, "modality video category second"]:
    """The parses of a batch: the seconds that exist, whose probability reaches its threshold, behind an open gate.

    `thresholds` are what `thresholds_of` gives for the parser and the protocol.
    """
    assert (thresholds is None) == (protocol.thresholds == "fixed"), "thresholds per class come from thresholds_of"
    limit = protocol.threshold if thresholds is None else thresholds.to(parsed.seconds.device)[:, None, None]
    return (parsed.seconds >= limit).transpose(2, 3) & allowed(parsed, protocol)


def allowed(parsed: Parsed, protocol: Protocol) -> Bool[Tensor, "modality video category second"]:
    """Which seconds may be positive: those that exist, of the categories for which the gate is open."""
    each = torch.stack([parsed.audio, parsed.visual])
    gate = each if protocol.gate == "per_modality" else parsed.video.expand_as(each)
    opened = (gate >= protocol.opens_at)[..., None].expand(*gate.shape, parsed.seconds.shape[2])
    return opened if parsed.present is None else opened & parsed.present[..., None, :]
