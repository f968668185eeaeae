"""Alarms: a run whose embeddings have collapsed is stopped early, however well its loss looks."""

from collections.abc import Mapping

from pydantic import Field

from launch.refusal import Refusal
from launch.settings import Settings


class AlarmSettings(Settings):
    """From when on, and at what, a run is stopped because it does not learn."""

    after: int | None = Field(
        None, ge=0, description="steps without alarm; absent: twice the warm-up, and never fewer than evaluate_every"
    )
    auc: float = Field(
        0.55, ge=0, le=1, description="least AUC of held-out positive against negative pairs; chance is 0.5, 0: none"
    )
    effective_rank: float = Field(
        0.05, ge=0, le=1, description="least effective rank of either modality, as a share of the width; 0: none"
    )
    loss: float = Field(
        0.01, ge=0, description="a loss below this with an AUC below 0.6 is the trap of equal cosines; 0: none"
    )


def sound(found: Mapping[str, float], loss: float, width: int, step: int, settings: AlarmSettings) -> None:
    """Raises Refusal when held-out embeddings say that nothing is learned; what was not measured raises nothing.

    `found`: what `health` found after `step` steps. `loss`: of the last step, NaN before any. `width`: of embeddings.
    """
    auc = found.get("auc", 1.0)
    if loss < settings.loss and auc < 0.6:
        raise _alarm(
            f"a loss near zero must come with positives above negatives, but at step {step} the loss is {loss:.4f} and "
            f"the AUC {auc:.3f} (chance 0.5): all cosines are about equal",
            "set loss.positive_margin above loss.negative_margin",
        )
    if auc < settings.auc:
        raise _alarm(
            f"held-out positive pairs must be closer than negative ones, but at step {step} their AUC is {auc:.3f}, "
            f"below alarms.auc {settings.auc:g} (chance 0.5)",
            "look at the graph's report: positives that hold have a low π0",
        )
    for modality in ("audio", "visual"):
        rank = found.get(f"effective_rank_{modality}", float("inf"))
        if rank < settings.effective_rank * width:
            raise _alarm(
                f"embeddings must keep some of their directions, but at step {step} the effective rank of {modality} "
                f"is {rank:.1f} of {width}, below alarms.effective_rank {settings.effective_rank:g} of the width",
                "raise loss.positive_margin above loss.negative_margin, or lower engine.learning_rate",
            )


def _alarm(rule: str, remedy: str) -> Refusal:
    return Refusal(
        f"{rule[0].upper()}{rule[1:]}; nothing of use is learned: {remedy}, and start over with --replace True "
        "(the alarms.* settings turn this alarm off)."
    )
