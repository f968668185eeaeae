"""How a parser is judged: which probabilities become a parse, and the scores of a whole split, batched."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor

from finetune.batches import Split
from finetune.network.pooling import Parsed
from finetune.parser import Parser
from finetune.scoring.metrics import Parse, Scores, category_scores, scores
from launch.digest import sha256_file
from launch.progress import track
from launch.settings import Settings
from shards.labels import DENSE_FILES, FULL_FILE, WEAK_FILES
from shards.planted.tables import SIZES as LLP


class Protocol(Settings):
    """From probabilities to a parse; printed with every score, since the literature differs here."""

    gate: Literal["global", "per_modality", "none"] = Field(
        "global",
        description="which video-level probability must reach the threshold too: global: p of the video (HAN, MGN, "
        "VALOR); per_modality: p_audio, p_visual (MA, JoMoLD); none: no gate",
    )
    threshold: float = Field(0.5, ge=0, le=1, description="a probability this high, or higher, is positive")


@dataclass(frozen=True)
class Judgement:
    """The scores of a split, in percent: the ten, and per category (None where it is neither true nor predicted)."""

    scores: Scores
    categories: dict[str, list[float | None]]
    """"audio", "visual" and "audio_visual" → one score a category."""
    videos: int

    def flat(self, prefix: str) -> dict[str, float]:
        """The ten scores as named numbers: "validation/segment/type_at_av" and so on."""
        levels = self.scores.items()
        return {f"{prefix}/{level}/{kind}": value for level, kinds in levels for kind, value in kinds.items()}


def judge(parser: Parser, split: Split, protocol: Protocol, batch: int = 128) -> Judgement:
    """The parser's judgement on a split, `batch` videos at a time; the same for every batch size."""
    audio, visual = parses(parser, split, protocol, batch)
    true_audio, true_visual = split.truth
    return Judgement(
        scores(audio, visual, true_audio, true_visual),
        {
            "audio": category_scores(audio, true_audio),
            "visual": category_scores(visual, true_visual),
            "audio_visual": category_scores(audio & visual, true_audio & true_visual),
        },
        len(split),
    )


def parses(parser: Parser, split: Split, protocol: Protocol, batch: int = 128) -> tuple[Parse, Parse]:
    """What the parser hears and what it sees in every video of a split, in its order; leaves the mode as it was."""
    training = parser.training
    parser.eval()
    steps = track(split.in_order(batch), f"parsing {split.name}", split.steps(batch), "batch")
    with torch.inference_mode():
        decided = [decide(parser(batch.features, batch.present), protocol) for batch in steps]
    parser.train(training)
    audio, visual = torch.cat(decided, dim=1).cpu().numpy().astype(np.bool_)
    return audio, visual


def decide(parsed: Parsed, protocol: Protocol) -> Bool[Tensor, "modality video category second"]:
    """The parses of a batch: seconds whose probability and whose video-level gate both reach the threshold."""
    seconds = parsed.seconds.transpose(2, 3) >= protocol.threshold
    if protocol.gate == "none":
        return seconds
    each = torch.stack([parsed.audio, parsed.visual])
    gate = each if protocol.gate == "per_modality" else parsed.video.expand_as(each)
    return seconds & (gate >= protocol.threshold)[..., None]


def table_digests(folder: Path) -> dict[str, str]:
    """The sha256 of each of the six annotation tables in `folder`, by file name: which truth a score was held to."""
    names = sorted([*WEAK_FILES.values(), FULL_FILE, *DENSE_FILES.values()])
    return {name: sha256_file(folder / name) for name in names}


def describe(protocol: Protocol, split: Split, trained: Mapping[str, int], tables: Mapping[str, str]) -> dict[str, Any]:
    """The conditions of a score, to be printed and stored with it.

    `trained`: videos of each split in training; `tables`: what `table_digests` found.
    """
    manifest = split.shards.manifest
    features = {name: manifest.features[name] for name in split.features}
    return {
        **protocol.model_dump(),
        "split": split.name,
        "videos": len(split),
        "missing": len(split.missing),
        "features": {name: " · ".join(filter(None, (one.variant, one.source))) for name, one in features.items()},
        "source": dict(manifest.source),
        "tables": dict(tables),
        "coverage": coverage({**trained, split.name: len(split)}, bool(manifest.source.get("corpus"))),
    }


def coverage(videos: Mapping[str, int], planted: bool) -> str:
    """Whether these are all the videos of LLP with real features (fewer cannot be compared), in words."""
    reasons = ["planted features"] if planted else []
    reasons += ["subset"] if any(count < LLP[name] for name, count in videos.items()) else []
    found = ", ".join(f"{count:,} of {LLP[name]:,} {name} videos" for name, count in videos.items())
    verdict = f"{', '.join(reasons)}: not comparable with the paper" if reasons else "comparable with the paper"
    return f"{verdict} ({found})"


def conditions(protocol: Mapping[str, Any]) -> str:
    """What `describe` found, one line each, for a person: all but the origin of the features and the digests."""
    features = ", ".join(f"{name} ({of})" if of else name for name, of in protocol["features"].items())
    lines = {**protocol, "features": features}
    return "\n".join(f"  {name}: {value}" for name, value in lines.items() if name not in ("source", "tables"))


def table(found: Scores) -> str:
    """The ten scores as a small text table in the order of the paper's: one line a level."""
    heads = ("", "Audio", "Visual", "AV", "Type@AV", "Event@AV")
    rows = [heads, *((level, *(f"{value:.1f}" for value in found[level].values())) for level in found)]
    return "\n".join(f"  {row[0]:8}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)


def write_scores(folder: Path, judgement: Judgement, protocol: Mapping[str, Any]) -> None:
    """Writes `scores.json`: level → kind → percent, "protocol" (`describe`) and "videos"."""
    content = {**judgement.scores, "protocol": dict(protocol), "videos": judgement.videos}
    (folder / "scores.json").write_text(json.dumps(content, indent=2) + "\n")
