"""What training descends: eq. (2) of the paper, of which HAN's own loss is one setting."""

from jaxtyping import Bool
from pydantic import Field
from torch import Tensor, nn

from finetune.cleaning.targets import Labels, Targets
from finetune.network.adversary import Discriminator, alpha_at
from finetune.network.pooling import EDGE, Parsed
from finetune.present import having, rows_there
from launch.refusal import Refusal
from launch.settings import Settings


class Diverged(Refusal):
    """What is learnt is no finite number any more."""


class LossSettings(Settings):
    """The weights of eq. (2). HAN's own loss, three cross-entropies of unit weight, is lambda_g = 2."""

    lambda_g: float = Field(0.6, ge=0, description="weight of L_g, the mean of the audio and the visual cross-entropy")
    lambda_ad: float = Field(
        0.4, ge=0, description="weight of L_ad, the discriminator's; used where adversarial is set"
    )
    lambda_s: float = Field(
        1.0, ge=0, description="weight of L_s, the cross-entropy of seconds; used where cleaning.seconds labels them"
    )
    smoothing_audio: float = Field(0.0, ge=0, le=1, description="share s of the audio label given away: (1-s)y + s/2")
    smoothing_visual: float = Field(0.1, ge=0, le=1, description="share s of the visual label given away: (1-s)y + s/2")


class Objective(nn.Module):
    """L = L_wsl + λ_g·L_g + λ_ad·L_ad, the last behind gradient reversal (which is the minus sign of eq. 2).

    Holds the discriminator, whose parameters are trained along with the parser's and not kept afterwards.
    """

    def __init__(self, settings: LossSettings, width: int, adversarial: bool) -> None:
        super().__init__()
        self.settings = settings
        self.discriminator = Discriminator(width) if adversarial else None

    def forward(self, parsed: Parsed, targets: Targets, progress: float) -> dict[str, Tensor]:
        """The loss under "loss"; unweighted "video" (L_wsl), "guided" (L_g), "seconds" (L_s), "adversarial" (L_ad).

        All are means over videos and categories (L_s: and seconds), in nats; a part that is not used is left out. The
        mean of a modality is that of the videos that have it. `progress` in 0..1 is the share of training behind us.
        """
        has = having(parsed.present)
        heard, seen, either = (None, None, None) if has is None else (*has, has.any(dim=0))
        video = cross_entropy(parsed.video, targets.video, either)
        audio = cross_entropy(parsed.audio, smooth(targets.each[0], self.settings.smoothing_audio), heard)
        visual = cross_entropy(parsed.visual, smooth(targets.each[1], self.settings.smoothing_visual), seen)
        guided = (audio + visual) / 2
        parts = {"loss": video + self.settings.lambda_g * guided, "video": video, "guided": guided}
        if targets.seconds is not None:
            parts["seconds"] = of_seconds(parsed, targets)
            parts["loss"] = parts["loss"] + self.settings.lambda_s * parts["seconds"]
        if self.discriminator is not None:
            parts["adversarial"] = self.discriminator.loss(parsed.joint, alpha_at(progress), parsed.present)
            parts["loss"] = parts["loss"] + self.settings.lambda_ad * parts["adversarial"]
        return parts


def cross_entropy(probabilities: Labels, labels: Labels, some: Bool[Tensor, " video"] | None = None) -> Tensor:
    """The mean binary cross-entropy in nats; probabilities lie strictly between 0 and 1, as the pooling leaves them.

    `some`: the videos that count (None: all); 0 where none does. Torch's own stops with an error of its own at a
    probability that is not a number; here the loss tells.
    """
    each = -(labels * probabilities.log() + (1 - labels) * (-probabilities).log1p())
    if some is None:
        return each.mean()
    return each.where(some[:, None], 0).sum() / (some.sum().clamp(min=1) * each.shape[1])


def of_seconds(parsed: Parsed, targets: Targets) -> Tensor:
    """L_s: the mean cross-entropy, in nats, of the seconds that are present, positive ones weighted by
    `targets.positive`; 0 where nothing is present."""
    assert targets.seconds is not None
    found, wanted = parsed.seconds.clamp(EDGE, 1 - EDGE), targets.seconds
    weight = 1.0 if targets.positive is None else targets.positive[:, None, None]
    each = -(weight * wanted * found.log() + (1 - wanted) * (-found).log1p())
    rows = rows_there(each, parsed.present)
    return rows.mean() if len(rows) else rows.sum()


def smooth(labels: Labels, share: float) -> Labels:
    """Labels moved towards one half: (1 − s)·y + s/2; s = 0.1 gives 0.95 and 0.05."""
    return (1 - share) * labels + share / 2
