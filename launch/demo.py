"""python -m launch demo          # minutes on two cores: a seeded subset (make demo)
python -m launch demo --size full # hours: every video, every epoch (make demo-full)

The whole chain on a planted corpus, each stage the command a user would type: synthesise → pack → graph → pretrain →
export → finetune → evaluate, on raw features and on the exported embeddings, ending with one table.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from rich.console import Console
from rich.table import Table

from launch.chain import run, words
from launch.progress import say
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Tracking

TABLES_HERE = Path("../shared/llp")
"""Where real LLP tables are looked for when LLP_TABLES names no folder; without any the corpus brings its own."""
KINDS = {"audio": "Audio", "visual": "Visual", "audio_visual": "AV", "type_at_av": "Type@AV", "event_at_av": "Event@AV"}


class Config(Settings):
    """Runs the whole chain on a planted corpus and ends with a table of scores."""

    size: Literal["small", "full"] = Field("small", description="a seeded subset in minutes, or everything in hours")
    out: Path = Field(Path("demo"), description="folder for corpus, shards, graph, encoder, parsers and scores")
    processes: int = Field(0, ge=0, description="processes that pre-train together; 0: 2, or 1 on a single GPU")
    tracking: Tracking = Tracking()


@dataclass(frozen=True)
class Size:
    """How much of everything, as words of the stages' own settings."""

    corpus: tuple[str, ...]
    pretrain: tuple[str, ...]
    training: tuple[str, ...]


SIZES = {
    "small": Size(
        corpus=("--train", "1500", "--validation", "300", "--test", "300", "--resnet_rows", "10"),
        pretrain=("--epochs", "8"),
        training=("--training.epochs", "8", "--training.batch", "16"),  # a subset has too few steps at 64
    ),
    "full": Size(corpus=(), pretrain=("--epochs", "8"), training=()),
}


@dataclass(frozen=True)
class Row:
    """One line of the final table: a parser's config and the features it reads."""

    name: str
    config: str
    shards: str


ROWS = (
    Row("HAN on raw features", "han", "shards"),
    Row("full model on raw features", "base_adv_skip_gcaa", "shards"),
    Row("full model on embeddings", "pretrain_multi", "embeddings"),
)


def main(config: Config) -> None:
    """Runs every stage in turn; stops with the exit code of the first that fails."""
    size, out, start = SIZES[config.size], config.out, time.monotonic()
    processes = config.processes or min(2, torch.cuda.device_count() or 2)
    tables = find_tables()
    say(f"Tables: {f'the real LLP tables in {tables}' if tables else 'planted ones, with the statistics of LLP'}.")
    for stage, arguments in chain(size, out, tables, processes):
        where = words(**{"tracking.root": config.tracking.root, "tracking.uri": config.tracking.uri})
        run(stage, [*arguments, *where, "--replace", "True"])
    show(out, config.size, bool(tables))
    say(f"Done in {(time.monotonic() - start) / 60:.1f} minutes.")
    shown = config.tracking.uri or f"`make ui RUNS={config.tracking.root}`, then http://127.0.0.1:5000"
    say(f"The runs are in MLflow: {shown}")


def find_tables() -> Path | None:
    """The real LLP tables: the folder LLP_TABLES names, else `TABLES_HERE`; None where there are none.

    Raises Refusal when LLP_TABLES names a folder without them.
    """
    named = os.environ.get("LLP_TABLES")
    folder = Path(named) if named else TABLES_HERE
    if (folder / "AVVP_train.csv").exists():
        return folder
    if named:
        raise Refusal(f"LLP_TABLES must name the folder of LLP's tables, but '{named}' has none: mend it or unset it.")
    return None


def chain(size: Size, out: Path, tables: Path | None, processes: int) -> list[tuple[str, list[str]]]:
    """The stages in order with their arguments."""
    real = words(tables=tables) if tables else []
    learnt_from, labels = out / "shards/train", out / "corpus/tables"
    pretrain = ["pretrain/configs/debug.toml", *words(shards=learnt_from, components=out / "graph")]
    pretrain += [*words(out=out / "pretrain"), "--job.processes", str(processes), *size.pretrain]
    first = [
        ("synthesise", [*real, *words(out=out / "corpus"), *size.corpus]),
        ("pack", words(features=out / "corpus/feats", tables=labels, out=out / "shards")),
        ("graph", words(shards=learnt_from, out=out / "graph")),
        ("pretrain", pretrain),
        ("export", words(encoder=out / "pretrain/encoder", shards=out / "shards", out=out / "embeddings")),
    ]
    return first + [step for row in ROWS for step in parse_and_score(row, size, out, labels)]


def parse_and_score(row: Row, size: Size, out: Path, labels: Path) -> list[tuple[str, list[str]]]:
    """Training and scoring of one row of the final table."""
    parser, inputs = out / "parsers" / row.config, words(shards=out / row.shards, tables=labels)
    named = ["--tracking.name", row.config]
    train = [f"finetune/configs/{row.config}.toml", *inputs, *words(out=parser), *size.training, *named]
    score = [*words(parser=parser), *inputs, *words(out=out / "scores" / row.config), *named]
    return [("finetune", train), ("evaluate", score)]


def show(out: Path, size: str, real: bool) -> None:
    """Prints the scores of all rows side by side."""
    kind = "real LLP tables" if real else "planted tables"
    title = f"F-scores in percent: test videos of a planted corpus with {kind}" + (
        "; subset: not comparable with the paper" if size == "small" else "; features planted, not LLP's"
    )
    table = Table("", *(f"{level}\n{name}" for level in ("segment", "event") for name in KINDS.values()), title=title)
    for row in ROWS:
        scores = json.loads((out / "scores" / row.config / "scores.json").read_text())
        table.add_row(row.name, *(f"{scores[level][kind]:.1f}" for level in ("segment", "event") for kind in KINDS))
    Console(width=140).print(table)
