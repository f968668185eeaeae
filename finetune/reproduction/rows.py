"""The rows of the paper's Tables 1 and 2, and those beyond: a config each, what it reads, and what was published."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.refusal import Refusal

CONFIGS = Path(__file__).parents[1] / "configs"
MODES = ("uni", "cross", "multi")
"""The losses an encoder is pre-trained with: eq. (3), (4), (5)."""


@dataclass(frozen=True)
class Row:
    """One row: a config of the parser, and the features it is trained on."""

    name: str
    """Of its file in `CONFIGS`."""
    title: str
    embeddings: str = ""
    """The mode (`MODES`) of the encoder whose embeddings it reads; empty: raw features."""
    encoder: str = ""
    """The mode of the encoder that it starts from and trains along; empty: none."""
    published: Mapping[str, tuple[float, ...]] | None = None
    """Level → the five scores in the paper's order, which is that of `KINDS`; None where the paper has no such row."""

    @property
    def config(self) -> Path:
        """Its file of settings."""
        return CONFIGS / f"{self.name}.toml"


@dataclass(frozen=True)
class Counterpart:
    """Two rows that are compared."""

    row: str
    other: str
    tells: str
    """What is compared: `row` − `other`, and what both share; all that differs where it is more than one thing."""


def _scores(segment: Sequence[float], event: Sequence[float]) -> dict[str, tuple[float, ...]]:
    return {"segment": tuple(segment), "event": tuple(event)}


_LIST = (
    Row("han", "HAN [1]", published=_scores((60.1, 52.9, 48.9, 54.0, 55.4), (51.3, 48.9, 43.0, 47.7, 48.0))),
    Row("base", "Base", published=_scores((60.0, 52.6, 48.4, 53.7, 54.8), (51.9, 48.5, 41.9, 47.4, 49.5))),
    Row(
        "base_gcaa",
        "Base + GCAA",
        published=_scores((62.0, 53.4, 48.9, 54.8, 56.3), (53.4, 48.9, 42.0, 48.1, 50.7)),
    ),
    Row(
        "base_adv_skip",
        "Base + Adv+Skip",
        published=_scores((61.5, 53.3, 48.8, 54.5, 56.0), (53.4, 48.8, 42.0, 48.0, 50.5)),
    ),
    Row(
        "base_adv_skip_gcaa",
        "Base + Adv+Skip+GCAA",
        published=_scores((61.6, 54.7, 50.3, 55.5, 56.1), (53.7, 50.5, 43.5, 49.2, 50.9)),
    ),
    Row(
        "pretrain_uni",
        "Pretrain (uni)",
        "uni",
        published=_scores((59.8, 54.7, 49.4, 54.7, 56.2), (50.8, 51.5, 42.9, 48.4, 49.3)),
    ),
    Row(
        "pretrain_cross",
        "Pretrain (cross)",
        "cross",
        published=_scores((60.3, 55.1, 49.9, 55.1, 56.4), (52.3, 52.1, 43.9, 49.4, 50.4)),
    ),
    Row(
        "pretrain_multi",
        "Pretrain (multi)",
        "multi",
        published=_scores((60.8, 54.8, 50.0, 55.2, 56.2), (53.4, 51.6, 44.3, 49.8, 51.2)),
    ),
    Row("pretrain_multi_han", "HAN on embeddings (multi)", "multi"),
    Row("pretrain_multi_end_to_end", "Pretrain (multi), end to end", encoder="multi"),
    Row("cleaned", "HAN, labels cleaned"),
)
ROWS = {row.name: row for row in _LIST}
"""Those that are trained where none is named."""
_CLEANING = (
    Row("clean_control", "HAN, labels weak (control)"),
    Row("clean_exchange", "HAN, labels by exchange"),
    Row("clean_denoise", "HAN, labels denoised"),
    Row("clean_gate", "HAN, gate per modality"),
    Row("clean_thresholds", "HAN, thresholds per class"),
    Row("clean_average", "HAN, weights averaged"),
    Row("clean_seconds", "HAN, averaged, labels of seconds"),
    Row("clean_mixup", "HAN, averaged, videos mixed"),
    Row("cleaned_denoise", "HAN, labels cleaned and denoised"),
    Row("cleaned_all", "HAN, labels cleaned, of seconds, mixed"),
)
ABLATIONS = {row.name: row for row in _CLEANING}
"""Further rows, trained where they are named: what each part of cleaning labels is worth."""
COUNTERPARTS = (
    Counterpart("base_adv_skip_gcaa", "han", "full model − HAN, raw features"),
    Counterpart("pretrain_uni", "base_adv_skip_gcaa", "embeddings (uni) − raw features, full model"),
    Counterpart("pretrain_cross", "base_adv_skip_gcaa", "embeddings (cross) − raw features, full model"),
    Counterpart("pretrain_multi", "base_adv_skip_gcaa", "embeddings (multi) − raw features, full model"),
    Counterpart("pretrain_multi_han", "han", "embeddings (multi) − raw features, HAN"),
    Counterpart("pretrain_multi", "pretrain_multi_han", "full model − HAN, embeddings (multi)"),
    Counterpart("pretrain_multi_end_to_end", "base_adv_skip_gcaa", "encoder (multi) trained along − none"),
    Counterpart("pretrain_multi_end_to_end", "pretrain_multi", "encoder (multi) trained along − frozen"),
    Counterpart(
        "cleaned",
        "han",
        "labels by exchange, weights averaged, gate per modality, no smoothing, batch 32 − none of the five, HAN",
    ),
    Counterpart("cleaned", "clean_control", "labels by exchange − weak labels, all else equal"),
    Counterpart("clean_exchange", "han", "labels by exchange − weak labels, HAN"),
    Counterpart("clean_denoise", "han", "labels denoised − weak labels, HAN"),
    Counterpart("clean_gate", "han", "gate per modality − global gate, HAN"),
    Counterpart("clean_thresholds", "han", "thresholds per class − one threshold, HAN"),
    Counterpart("clean_average", "han", "weights averaged − last weights, HAN"),
    Counterpart("clean_seconds", "han", "weights averaged, labels of seconds, rare ones weighted − none of them, HAN"),
    Counterpart("clean_mixup", "han", "weights averaged, videos mixed − neither, HAN"),
    Counterpart(
        "clean_control", "han", "weights averaged, gate per modality, no smoothing, batch 32 − none of them, HAN"
    ),
    Counterpart("cleaned_denoise", "cleaned", "labels denoised too − by exchange alone"),
    Counterpart("cleaned_all", "cleaned", "labels of seconds, rare ones weighted, videos mixed too − cleaned alone"),
)


def chosen(names: Sequence[str]) -> list[Row]:
    """The rows of these names, in the given order; all of `ROWS` where none is named.

    `ABLATIONS` can be named as well, and any other config of `CONFIGS`, as a row without published scores. Raises
    Refusal for a name without a file.
    """
    doubled = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
    if doubled:
        raise Refusal(f"A row must be named once, but --rows names '{doubled[0]}' twice: leave one out.")
    known = ROWS | ABLATIONS
    return [known.get(name) or _further(name) for name in names] if names else list(ROWS.values())


def _further(name: str) -> Row:
    known = sorted({*ROWS, *(file.stem for file in CONFIGS.glob("*.toml"))})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        remedy = f"did you mean '{near[0]}'?" if near else f"they are {', '.join(known)}."
        raise Refusal(f"A row must be a config of finetune/configs, but '{name}' is not: {remedy}")
    parser = tomllib.loads((CONFIGS / f"{name}.toml").read_text()).get("parser", {})
    embedded = any(feature.startswith("pretrained_") for feature in parser.get("audio", ()))
    return Row(name, name, embeddings="multi" if embedded else "")
