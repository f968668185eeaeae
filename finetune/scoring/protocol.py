"""How a parser is judged: its parses of a whole split, batched, their scores, and the conditions told with them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finetune.batches import Split
from finetune.network.pooling import Parsed
from finetune.parser import Parser
from finetune.scoring.decision import Protocol, allowed, decide
from finetune.scoring.metrics import Parse, Scores, category_scores, exclusive_scores, scores
from finetune.scoring.thresholds import FITTED_ON, Thresholds, best_thresholds, read, told
from launch.progress import track
from launch.refusal import Refusal
from shards.labels import SIZES

SCORES = "scores.json"


@dataclass(frozen=True)
class Judgement:
    """The scores of a split, in percent: the ten, and more beside them."""

    scores: Scores
    categories: dict[str, list[float | None]]
    """"audio", "visual" and "audio_visual" → one score a category, None where it is neither true nor predicted."""
    videos: int
    exclusive: Scores = field(default_factory=dict)
    """Level → "audible_only" and "visible_only" → percent, beside the ten."""

    def flat(self, prefix: str) -> dict[str, float]:
        """All scores but the categories' as named numbers: "validation/segment/type_at_av" and so on."""
        levels = [*self.scores.items(), *self.exclusive.items()]
        return {f"{prefix}/{level}/{kind}": value for level, kinds in levels for kind, value in kinds.items()}


def judge(parser: Parser, split: Split, protocol: Protocol, batch: int = 128) -> Judgement:
    """The parser's judgement on a split, `batch` videos at a time; the same for every batch size.

    Raises Refusal where the protocol asks for thresholds that the parser does not bring along.
    """
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
        exclusive_scores(audio, visual, true_audio, true_visual),
    )


def parses(parser: Parser, split: Split, protocol: Protocol, batch: int = 128) -> tuple[Parse, Parse]:
    """What the parser hears and what it sees in every video of a split, in its order; leaves the mode as it was."""
    thresholds = thresholds_of(parser, protocol)
    decided = [decide(parsed, protocol, thresholds) for parsed in parsed_in_order(parser, split, batch)]
    audio, visual = torch.cat(decided, dim=1).cpu().numpy().astype(np.bool_)
    return audio, visual


def parsed_in_order(parser: Parser, split: Split, batch: int = 128) -> Iterator[Parsed]:
    """What the parser makes of a split in evaluation mode, `batch` videos at a time, without gradients."""
    for part in track(split.in_order(batch), f"parsing {split.name}", split.steps(batch), "batch"):
        training = parser.training
        parser.eval()
        with torch.inference_mode():
            parsed = parser(part.features, part.present)
        parser.train(training)
        yield parsed


def thresholds_of(parser: Parser, protocol: Protocol) -> Thresholds | None:
    """What `decide` needs: None for fixed thresholds, else those that the parser brings along.

    Raises Refusal where it brings none, or some that were fitted otherwise than on validation behind this gate.
    """
    if protocol.thresholds == "fixed":
        return None
    return read(parser.trained_on.get("thresholds"), protocol.fitted_under)


def fit_thresholds(parser: Parser, validation: Split, protocol: Protocol, batch: int = 128) -> dict[str, Any]:
    """The thresholds per class that are best on validation behind the protocol's gate, for the parser to bring along.

    They belong into `parser.trained_on["thresholds"]`. Raises Refusal for any other split.
    """
    if validation.name != FITTED_ON:
        raise Refusal(
            f"Thresholds must be fitted on the {FITTED_ON} split, which no score is reported on, but the split is "
            f"'{validation.name}': give {FITTED_ON}."
        )
    whole = list(parsed_in_order(parser, validation, batch))
    probabilities = torch.cat([parsed.seconds for parsed in whole], dim=1).transpose(2, 3).cpu().numpy()
    may = torch.cat([allowed(parsed, protocol) for parsed in whole], dim=1).cpu().numpy()
    best = best_thresholds(probabilities, may, np.stack(validation.truth), protocol.threshold)
    return told(best, protocol.fitted_under)


def describe(
    protocol: Protocol,
    split: Split,
    trained: Mapping[str, int],
    tables: Mapping[str, str],
    fitted: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The conditions of a score, to be printed and stored with it.

    `trained`: videos of each split in training; `tables`: what `table_digests` found; `fitted`: what `fit_thresholds`
    found, which is told where the protocol asks for it.
    """
    manifest = split.shards.manifest
    features = {name: manifest.features[name] for name in split.features}
    return {
        **protocol.model_dump(),
        "gate_threshold": protocol.opens_at,
        **({"fitted": dict(fitted)} if fitted and protocol.thresholds == "per_class" else {}),
        "split": split.name,
        "videos": len(split),
        "missing": len(split.missing),
        "never_labelled": list(split.never_labelled),
        "features": {name: " · ".join(filter(None, (one.variant, one.source))) for name, one in features.items()},
        "source": dict(manifest.source),
        "tables": dict(tables),
        "coverage": coverage({**trained, split.name: len(split)}, bool(manifest.source.get("corpus"))),
    }


def coverage(videos: Mapping[str, int], planted: bool) -> str:
    """Whether these are all the videos of LLP with real features (fewer cannot be compared), in words."""
    reasons = ["planted features"] if planted else []
    reasons += ["subset"] if any(count < SIZES[name] for name, count in videos.items()) else []
    found = ", ".join(f"{count:,} of {SIZES[name]:,} {name} videos" for name, count in videos.items())
    verdict = f"{', '.join(reasons)}: not comparable with the paper" if reasons else "comparable with the paper"
    return f"{verdict} ({found})"


def conditions(protocol: Mapping[str, Any]) -> str:
    """What `describe` found, one line each, for a person: all but the origin of the features and long lists."""
    features = ", ".join(f"{name} ({of})" if of else name for name, of in protocol["features"].items())
    lines = {**protocol, "features": features, "never_labelled": ", ".join(protocol["never_labelled"]) or "none"}
    return "\n".join(
        f"  {name}: {value}" for name, value in lines.items() if name not in ("source", "tables", "fitted")
    )


def in_short(protocol: Mapping[str, Any]) -> str:
    """What `describe` found of gate and thresholds, in one line beside a score.

    >>> in_short({"gate": "global", "gate_threshold": 0.5, "threshold": 0.4, "thresholds": "fixed"})
    'gate global (p ≥ 0.5), seconds p ≥ 0.4'
    """
    gate = protocol["gate"] + ("" if protocol["gate"] == "none" else f" (p ≥ {protocol['gate_threshold']:g})")
    per_class = f"per class, fitted on {FITTED_ON}"
    seconds = f"p ≥ {protocol['threshold']:g}" if protocol["thresholds"] == "fixed" else per_class
    return f"gate {gate}, seconds {seconds}"


def table(found: Scores, exclusive: Scores | None = None) -> str:
    """The ten scores as a small text table in the order of the paper's, one line a level; the exclusive ones beside."""
    heads = (
        "",
        "Audio",
        "Visual",
        "AV",
        "Type@AV",
        "Event@AV",
        *(("Audible-only", "Visible-only") if exclusive else ()),
    )
    values = {level: [*found[level].values(), *((exclusive or {}).get(level) or {}).values()] for level in found}
    rows = [heads, *((level, *(f"{value:.1f}" for value in each)) for level, each in values.items())]
    wide = [max(10, len(head) + 2) for head in heads[1:]]
    cells = ["".join(f"{cell:>{width}}" for cell, width in zip(row[1:], wide, strict=True)) for row in rows]
    return "\n".join(f"  {row[0]:8}{line}" for row, line in zip(rows, cells, strict=True))


def write_scores(folder: Path, judgement: Judgement, protocol: Mapping[str, Any]) -> None:
    """Writes `scores.json`: level → kind → percent, "exclusive" likewise, "protocol" (`describe`) and "videos"."""
    content = {
        **judgement.scores,
        "exclusive": judgement.exclusive,
        "protocol": dict(protocol),
        "videos": judgement.videos,
    }
    (folder / SCORES).write_text(json.dumps(content, indent=2) + "\n")
