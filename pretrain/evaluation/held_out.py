"""What is seen of the held-out videos while a run goes on: their health and, where there are labels, a linear probe."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from launch.progress import say
from launch.refusal import Refusal
from pretrain.batches import Batch
from pretrain.engine.engine import Engine
from pretrain.evaluation import alarms
from pretrain.evaluation.encode import embed
from pretrain.evaluation.health import Embedded, health
from pretrain.evaluation.labelled import Truth, probe_videos
from pretrain.loss.contrast import LossSettings
from pretrain.loss.pairs import Mode
from shards.labels import Tables
from shards.schema import SECONDS

AT_ONCE = 256
"""Videos encoded at a time where `batches.micro_batch` does not say."""
FEWEST = 50
"""Labelled held-out videos without which a probe says nothing."""


def score(found: Mapping[str, float], mode: Mode) -> float | None:
    """By what the best checkpoint is told: the mean mAP of both directions of retrieval, in `uni`, which does not train
    it, the AUC; None where there is none."""
    if mode == "uni":
        return found.get("auc")
    directions = [found[name] for name in ("audio_to_visual_map", "visual_to_audio_map") if name in found]
    return sum(directions) / len(directions) if directions else None


@dataclass(frozen=True)
class HeldOut:
    """The held-out videos of a run, which no step trains on, and what is known of them."""

    batch: Batch
    loss: LossSettings
    at_once: int
    """Videos that are encoded at a time."""
    labelled: torch.Tensor
    """Which of them the tables know."""
    truth: Truth | None
    """Of those; None where they are too few."""

    @classmethod
    def of(cls, batch: Batch, loss: LossSettings, at_once: int | None, tables: Path | None) -> "HeldOut":
        """Joins the held-out videos with the labels in a folder of tables, if one is given."""
        unknown = cls(batch, loss, at_once or AT_ONCE, torch.zeros(0, dtype=torch.int64), None)
        if tables is None:
            return unknown
        loaded = Tables.load(tables)
        weak = {key for videos in loaded.weak.values() for key in videos}
        labelled = [place for place, key in enumerate(batch.keys) if key in weak]
        if len(labelled) < FEWEST:
            say(f"No linear probe: {len(labelled)} of {len(batch.keys)} held-out videos are in the tables '{tables}'.")
            return unknown
        truth = Truth.of(loaded, [batch.keys[place] for place in labelled])
        return replace(unknown, labelled=torch.tensor(labelled), truth=truth)

    def evaluate(self, engine: Engine) -> dict[str, float]:
        """The numbers of `health` and, with labels, `video_map`; the same on every rank. Collective.

        Raises Refusal on every rank when an embedding is not finite.
        """
        engine.train(False)
        with torch.no_grad():
            embedded = Embedded.joined([embed(engine.embed, *part) for part in self._parts()])
        engine.train(True)
        self._refuse_what_is_not_finite(embedded)
        return health(embedded, self.batch.ids, self.loss) | self._probed(embedded)

    def most(self, width: int) -> int:
        """The highest effective rank that embeddings so wide can have here, of the modality that has fewer; 0: too few
        videos to raise an alarm."""
        videos, present = len(self.batch.keys), self.batch.present
        snippets = videos * SECONDS if present is None else int(present.sum(dim=(0, 2)).min())
        return min(width, snippets) if videos >= alarms.FEWEST else 0

    def _parts(self) -> list[tuple[dict[str, torch.Tensor], torch.Tensor | None]]:
        micro = self.batch.micro_batches(self.at_once, 1)
        return [(each.features, each.present) for each in micro]

    def _refuse_what_is_not_finite(self, embedded: Embedded) -> None:
        finite = (embedded.audio + embedded.visual).isfinite().all(-1).all(-1).tolist()
        bad = [key for key, whole in zip(self.batch.keys, finite, strict=True) if not whole]
        if bad:
            raise Refusal(
                f"Embeddings of held-out videos must be finite, but those of {len(bad)} of {len(finite)} are not, "
                f"{bad[0]} among them; nothing was saved since: lower engine.learning_rate and start from the last "
                "checkpoint."
            )

    def _probed(self, embedded: Embedded) -> dict[str, float]:
        """Mean average precision of the weak labels of every other video, by a probe fitted to the rest; nothing where
        no label is on both sides."""
        if self.truth is None:
            return {}
        rows = embedded.means().cpu()[self.labelled]
        sides = [(rows[half::2], self.truth.only(slice(half, None, 2))) for half in (0, 1)]
        found = probe_videos(*sides[0], *sides[1])
        return {name: value for name, value in found.items() if math.isfinite(value)}
