"""The model card of a saved parser: what it is, was trained on, how it scored and where it ends, from its files alone.

Nothing in it is written by hand: what a sentence depends on (planted features, a part of LLP, an encoder inside) is
read from what the parser and its scores say of themselves.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.parser import Parser, ParserSettings
from finetune.scoring.protocol import in_short, table
from shards.labels import CATEGORIES

NAME = "MODEL_CARD.md"
LOAD = """\
```python
from finetune.parser import Parser

parser = Parser.from_pretrained("FOLDER")  # the folder of this card
```

`python -m launch predict --parser FOLDER --shards DIR --out DIR` writes parses, `python -m launch evaluate` scores them
against LLP's tables, and `python -m launch register --parser FOLDER` makes an MLflow model that a server can load."""
LICENCE = """\
The code that reads these files is under the Apache License 2.0. The files say nothing of a licence of the weights, nor
of the videos and labels behind them: that is for those who trained them to say."""


def write_card(folder: Path, parser: Parser) -> None:
    """Writes the card into a parser's folder, which holds its validation scores already."""
    scores = json.loads((folder / "scores.json").read_text())
    (folder / NAME).write_text(card(parser, scores))


def card(parser: Parser, scores: Mapping[str, Any]) -> str:
    """The card of a parser that says what it was trained on, with its validation scores as `write_scores` left them."""
    sections = {
        "Loading it": [LOAD],
        "What it reads": _inputs(parser, scores["protocol"]),
        "What it was trained on": _training(parser.trained_on),
        "How it scored": _scores(scores),
        "Where it ends": [f"- {sentence}" for sentence in _limits(parser, scores["protocol"])],
        "Licence": [LICENCE],
    }
    texts = ["\n".join((f"## {title}", "", *lines)) for title, lines in sections.items()]
    return "\n\n".join((_head(parser), *texts)) + "\n"


def called(settings: ParserSettings) -> str:
    """The architecture in words: "HAN", "Base + adversarial + skip + gcaa".

    >>> called(ParserSettings(skip=True))
    'Base + skip'
    """
    options = [name for name in ("adversarial", "skip", "gcaa") if getattr(settings, name)]
    return " + ".join([{"han": "HAN", "base": "Base"}[settings.architecture], *options])


def _head(parser: Parser) -> str:
    millions = sum(parameter.numel() for parameter in parser.parameters()) / 1e6
    inside = ", its encoder among them" if parser.encoder is not None else ""
    return (
        f"# A parser of who is heard and who is seen: {called(parser.settings)}\n\n"
        f"For each second of a ten-second video it says which of {len(CATEGORIES)} categories are audible, and which "
        f"are visible. It has {millions:.1f} million parameters{inside}."
    )


def _inputs(parser: Parser, protocol: Mapping[str, Any]) -> Iterator[str]:
    """A table of the features."""
    yield "| feature | numbers a second | heard or seen | what it is |"
    yield "|---|---|---|---|"
    for name, width in parser.widths.items():
        read_as = [modality for modality in ("audio", "visual") if name in getattr(parser.settings, modality)]
        yield f"| {name} | {width} | {', '.join(read_as)} | {protocol['features'].get(name, '')} |"


def _training(told: Mapping[str, Any]) -> Iterator[str]:
    settings = told["settings"]
    counts = " and ".join(f"{count:,} {split} videos" for split, count in told["videos"].items())
    yield f"- {counts}. What occurs in a training video is known, but not when, nor whether it is heard or seen."
    if told["pseudo"]:
        yield "- Labels of seconds that another model made of the training videos were used too."
    yield f"- The epoch that was best on validation is kept: {told['epoch']} of {settings['training']['epochs']}."
    yield f"- Seed {settings['seed']}. The settings it was trained with:"
    yield f"\n```json\n{json.dumps(settings, indent=1)}\n```\n"
    yield "What it was made from, by sha256:"
    digests = {f"shards of {name}": digest for name, digest in told["manifests"].items()} | dict(told["tables"])
    digests |= {"pseudo-labels": told["pseudo"]} if told["pseudo"] else {}
    yield "\n".join(f"- {name}: `{digest}`" for name, digest in digests.items())


def _scores(scores: Mapping[str, Any]) -> Iterator[str]:
    protocol = scores["protocol"]
    levels = {level: scores[level] for level in ("segment", "event")}
    yield f"F-scores in percent on {scores['videos']:,} {protocol['split']} videos; {in_short(protocol)}:"
    yield f"\n```\n{table(levels)}\n```\n"
    chosen = "The epoch was" if protocol["thresholds"] == "fixed" else "The epoch and the thresholds were"
    yield f"{chosen} chosen by these very videos, which flatters the scores: `evaluate` makes those of test."


def _limits(parser: Parser, protocol: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must not expect, one sentence each."""
    if protocol["source"].get("corpus"):
        yield "Its features were planted by a generator, not extracted from videos: it says nothing about real ones."
    yield f"Its scores beside published ones: {protocol['coverage']}."
    yield f"It knows {len(CATEGORIES)} categories and no other: {', '.join(CATEGORIES)}."
    if never := parser.trained_on.get("never_labelled"):
        yield f"It never met some of them in training, so what it says of these means nothing: {', '.join(never)}."
    yield "It reads ten one-second steps: longer videos have to be cut, and events are told to the whole second."
    yield "Weak labels do not say in which modality a category occurs: it may see what is only heard, and the reverse."
    if any(trait["encoder"] for trait in parser.trained_on["features"].values()):
        yield "It reads embeddings of one encoder, by digest, and refuses those of any other."
    yield "Its probabilities were not calibrated: a confidence orders events, and is no frequency."
