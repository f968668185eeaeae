"""What is seen of the held-out videos while a run goes on: their health and, where there are labels, a linear probe."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from launch.progress import say
from launch.refusal import Refusal
from pretrain.batches import Batch
from pretrain.engine.engine import Engine
from pretrain.evaluation.encode import embed
from pretrain.evaluation.health import Embedded, health
from pretrain.evaluation.labelled import Truth, probe_videos
from pretrain.loss.pairs import Mode
from shards.labels import Tables

FEWEST = 50
"""Labelled held-out videos without which a probe says nothing."""


def score(found: Mapping[str, float]) -> float | None:
    """By what the best checkpoint is told: the mean mAP of both directions of retrieval; None where there is none."""
    directions = [found[name] for name in ("audio_to_visual_map", "visual_to_audio_map") if name in found]
    return sum(directions) / len(directions) if directions else None


@dataclass(frozen=True)
class HeldOut:
    """The held-out videos of a run, which no step trains on, and what is known of them."""

    batch: Batch
    mode: Mode
    labelled: torch.Tensor
    """Which of them the tables know."""
    truth: Truth | None
    """Of those; None where they are too few."""

    @classmethod
    def of(cls, batch: Batch, mode: Mode, tables: Path | None) -> "HeldOut":
        """Joins the held-out videos with the labels in a folder of tables, if one is given."""
        nobody = torch.zeros(0, dtype=torch.int64)
        if tables is None:
            return cls(batch, mode, nobody, None)
        loaded = Tables.load(tables)
        weak = {key for videos in loaded.weak.values() for key in videos}
        labelled = [place for place, key in enumerate(batch.keys) if key in weak]
        if len(labelled) < FEWEST:
            say(f"No linear probe: {len(labelled)} of {len(batch.keys)} held-out videos are in the tables '{tables}'.")
            return cls(batch, mode, nobody, None)
        truth = Truth.of(loaded, [batch.keys[place] for place in labelled])
        return cls(batch, mode, torch.tensor(labelled), truth)

    def evaluate(self, engine: Engine) -> dict[str, float]:
        """The numbers of `health` and, with labels, `video_map`; the same on every rank. Collective.

        Raises Refusal on every rank when an embedding is not finite.
        """
        engine.train(False)
        with torch.no_grad():
            embedded = embed(engine.embed, self.batch.features)
        engine.train(True)
        self._refuse_what_is_not_finite(embedded)
        return health(embedded, self.batch.ids, self.mode) | self._probed(embedded)

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
        """Mean average precision of the weak labels of every other video, by a probe fitted to the rest."""
        if self.truth is None:
            return {}
        rows = torch.cat((embedded.audio, embedded.visual), dim=-1).mean(1).cpu()[self.labelled]
        sides = [(rows[half::2], self.truth.only(slice(half, None, 2))) for half in (0, 1)]
        return probe_videos(*sides[0], *sides[1])
