"""python -m launch reproduce --shards DIR --tables DIR --seeds 3 --out DIR

The paper's tables from raw features: graph, encoders and embeddings for the rows that read them, then every row
trained and scored with every seed, each step the stage a user would start. Tables 1 and 2, counterparts, and Figures
1 and 4 lie in `--out`; every finished row and seed is one line of `--results`, never made twice: the same command goes
on after a stop, started twice it shares the work, and where everything is there it prints.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from rich.console import Console

from finetune.batches import Missing
from finetune.reproduction.code import code, commit
from finetune.reproduction.pages import write_figures, write_tables
from finetune.reproduction.results import Results
from finetune.reproduction.rows import Row, chosen
from finetune.reproduction.sources import PRETRAINING, Sources, manifests, planted
from finetune.reproduction.summary import Found
from finetune.reproduction.tables import grids
from finetune.reproduction.trials import Bench
from finetune.reproduction.work import Work, tracking_words
from launch import tracking
from launch.atomic import whole_file
from launch.chain import words
from launch.progress import say
from launch.settings import Settings
from launch.tracking import Record, Tracking
from shards.location import Location

WIDE = 170
"""Characters of a line of the tables, also where nobody looks."""
RUN = "run.json"
"""What an `out` remembers of its MLflow run."""


class EveryRow(Settings):
    """Settings of every row's training; what is left out stays each row's own."""

    epochs: int | None = Field(None, ge=1, description="passes over the training videos; none: each row's own")
    batch: int | None = Field(None, ge=1, description="videos a step; none: each row's own")
    learning_rate: float | None = Field(None, gt=0, description="Adam's step size; none: each row's own")
    precision: Literal["float32", "bfloat16"] | None = Field(
        None, description="of the products of a step; none: each row's own"
    )


class Config(Settings):
    """Makes the paper's tables: every row from raw features to mean scores over seeds."""

    shards: Location = Field(description="folder or URL of raw features: shard sets train, validation and test")
    tables: Path = Field(description="folder of LLP's six annotation tables")
    out: Path = Field(description="folder for encoders, embeddings, parsers, tables and figures; goes on where it was")
    rows: tuple[str, ...] = Field((), description="configs of finetune/configs to train, in this order; none: all")
    seeds: int = Field(1, ge=1, description="seeds of a row: 0, 1, … All rows come with seed 0 first, then with 1, …")
    more_seeds: tuple[str, ...] = Field((), description="rows that get more than seed 0; none: all")
    results: Path | None = Field(
        None,
        description="file of results, a JSON line each; none: docs/results/planted-GENERATOR.jsonl, or real.jsonl",
    )
    commit: bool = Field(False, description="whether each line is committed to git as soon as it is written")
    same_code: bool = Field(
        False, description="whether lines that other code made are made again; their commit is shown in any case"
    )
    tables_only: bool = Field(False, description="whether to train nothing and show what there is")
    embeddings: Path | None = Field(
        None, description="folder of embeddings that are there (uni/train, …), as export writes; none: they are made"
    )
    encoders: Path | None = Field(
        None, description="folder of encoders that are there (uni/encoder, …), as pretrain writes; none: they are made"
    )
    unlabelled: Location | None = Field(
        None, description="folder or URL of the one shard set that graph and encoders learn from; none: shards/train"
    )
    pretraining: Path | None = Field(
        None, description="the encoders' settings file; none: pretrain/configs/base.toml on a GPU, debug.toml on a CPU"
    )
    processes: int = Field(0, ge=0, description="processes that pre-train together; 0: one a GPU, or 2 without any")
    over: tuple[Path, ...] = Field((), description="settings files of finetune that come after each row's own")
    missing: Missing = Field("refuse", description="videos of the tables that the shards lack: refuse, or skip")
    training: EveryRow = EveryRow()
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Runs the stage; raises Refusal for inputs that do not fit, before anything is trained.

    Raises ChildProcessError at the end where a trial failed: the others are made, and shown, all the same.
    """
    rows, further = chosen(config.rows), {row.name for row in chosen(config.more_seeds)}
    seeds = {row.name: range(config.seeds if row.name in further or not config.more_seeds else 1) for row in rows}
    _sources(config, ()).check(rows, not config.tables_only)
    results = Results(config.results or _default_results(config.shards), config.commit)
    config.out.mkdir(parents=True, exist_ok=True)
    if not config.tables_only:
        results.begin()
    around = config.tracking.model_copy(update={"system_interval": 0.0})  # the runs inside it sample the same hosts
    with tracking.run(around, "reproduce", config, not config.tables_only, _run_of(config.out)) as record:
        within = config.tracking.model_copy(update={"parent": record.run_id})
        bench = _bench(config, _sources(config, tracking_words(within)))
        work = Work(bench, rows, seeds, results, within, recall=config.tables_only)
        _say_plan(config, rows, bench)
        if not config.tables_only:
            _remember(config.out, record)
            work.make()
        found = work.found()
        for file in [*write_tables(config.out, found), *write_figures(config.out, config.tables, found)]:
            record.artifact(file)
        record.metrics(len(found.results), found.means())  # a start that makes more of them has later points
        _show(config.out, found, results)
        if found.failed:
            raise ChildProcessError(_how_they_failed(found.failed))


def _show(out: Path, found: Found, results: Results) -> None:
    console = Console(width=WIDE)
    for grid in grids(found):
        console.print(grid.rich())
    _say_who_made_them(found)
    say(f"Wrote tables.md, tables.json and figures into '{out}'; the results are lines of '{results.path}'.")


def _how_they_failed(failed: Mapping[tuple[str, int], str]) -> str:
    each = ", ".join(f"'{row}' with seed {seed} ({reason})" for (row, seed), reason in failed.items())
    return f"Every row and seed must come to a result, but these did not: {each}; what each said is above, start again."


def _say_who_made_them(found: Found) -> None:
    here = code()
    others = {result.commit or "outside git" for result in found.results.values() if result.code != here}
    if others:
        say(
            f"Some of these results are by other code (commits {', '.join(sorted(others))}; this is "
            f"{commit() or 'outside git'}): --same_code makes them again."
        )


def _sources(config: Config, tracked: Sequence[str]) -> Sources:
    gpus = torch.cuda.device_count()
    usual = PRETRAINING / ("base.toml" if gpus else "debug.toml")
    return Sources(
        str(config.shards),
        str(config.unlabelled or f"{config.shards}/train"),
        config.out,
        config.embeddings,
        config.encoders,
        config.pretraining or usual,
        config.processes or gpus or 2,
        tracked,
    )


def _bench(config: Config, sources: Sources) -> Bench:
    recipe = {f"training.{name}": value for name, value in config.training if value is not None}
    only = code() if config.same_code else ""
    return Bench(sources, config.tables, config.missing, config.over, words(**recipe), config.out, only)


def _say_plan(config: Config, rows: Sequence[Row], bench: Bench) -> None:
    made = not (config.embeddings or config.encoders) and any(row.embeddings or row.encoder for row in rows)
    small = ": a small encoder, since there is no GPU" if made and not torch.cuda.device_count() else ""
    how = f" Encoders are pre-trained with '{bench.sources.pretraining.name}'{small}." if made else ""
    version = planted(manifests(bench.sources.shards))
    kind = "real features" if version is None else f"features planted by generator {version}"
    say(f"Rows: {', '.join(row.name for row in rows)}; {config.seeds} seeds; {kind} of '{config.shards}'.{how}")


def _default_results(shards: str | Path) -> Path:
    version = planted(manifests(str(shards)))
    return Path("docs/results") / ("real.jsonl" if version is None else f"planted-{version}.jsonl")


def _run_of(out: Path) -> str:
    """The MLflow run that an earlier start in this folder began; empty where there was none."""
    file = out / RUN
    return str(json.loads(file.read_text())["run"]) if file.exists() else ""


def _remember(out: Path, record: Record) -> None:
    with whole_file(out / RUN) as temporary:
        temporary.write_text(json.dumps({"run": record.run_id}) + "\n")
