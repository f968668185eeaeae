"""Alarms: a run whose embeddings have collapsed, or stay at chance, is stopped early, however well its loss looks."""

from collections.abc import Mapping

from pydantic import Field

from launch.refusal import Refusal
from launch.settings import Settings

FEWEST = 8
"""Held-out videos without which no alarm is raised: a few rows have few directions, and their pairs say little."""
EQUAL = 0.6
"""Below this AUC a loss near zero is no success: all cosines are about equal."""


class AlarmSettings(Settings):
    """From when on, and at what, a run is stopped because it does not learn."""

    after: int | None = Field(
        None,
        ge=0,
        description="steps without alarm; absent: twice the warm-up, and never fewer than evaluate_every or a tenth of "
        "all steps",
    )
    auc: float = Field(
        0.55,
        ge=0,
        le=1,
        description="least AUC of held-out positive against negative pairs; chance is 0.5, 0: none",
    )
    effective_rank: float = Field(
        0.05,
        ge=0,
        le=1,
        description="least effective rank of either modality, as a share of the width (of the held-out snippets, where "
        "these are fewer); 0: none",
    )
    loss: float = Field(
        0.01,
        ge=0,
        description="a mean hinge of positives and negatives below this with an AUC below 0.6 is the trap of equal "
        "cosines; 0: none",
    )


def sound(found: Mapping[str, float], most: int, step: int, settings: AlarmSettings) -> None:
    """Raises Refusal when held-out embeddings say that nothing is learned; what was not measured raises nothing.

    `found`: what `health` found after `step` steps. `most`: the highest effective rank that there can be.
    """
    auc = found.get("auc", 1.0)
    if found.get("balanced_hinge", 1.0) < settings.loss and auc < EQUAL:
        raise _alarm(
            f"A loss near zero must come with positives above negatives, but at step {step} the held-out hinges are "
            f"{found['balanced_hinge']:.4f} and the AUC is {auc:.3f} (chance 0.5): all cosines are about equal",
            "set loss.positive_margin well above loss.negative_margin",
        )
    if auc < settings.auc:
        raise _alarm(
            f"Held-out positive pairs must be closer than negative ones, but at step {step} their AUC is {auc:.3f}, "
            f"below alarms.auc {settings.auc:g} (chance 0.5)",
            "look at the graph's report, where positives that hold have a low π0, or raise engine.learning_rate",
        )
    for modality in ("audio", "visual"):
        rank = found.get(f"effective_rank_{modality}", float("inf"))
        if rank < settings.effective_rank * most:
            raise _alarm(
                f"Embeddings must keep some of their directions, but at step {step} the effective rank of {modality} "
                f"is {rank:.1f} of {most}, below alarms.effective_rank {settings.effective_rank:g} of that",
                "raise loss.positive_margin above loss.negative_margin, or lower engine.learning_rate",
            )


def _alarm(rule: str, remedy: str) -> Refusal:
    return Refusal(
        f"{rule}; nothing of use is learned: {remedy}, and start over with --replace True (the alarms.* settings turn "
        "this alarm off)."
    )
