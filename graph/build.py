"""python -m launch graph --shards DIR --out DIR [--base EARLIER] [--closure per_modality] [--job.processes 2]

Shards → `forest_{audio,visual}.parquet` (and `forest_both.parquet` for match "all"), `components.safetensors`,
`neighbours_{audio,visual}.safetensors`, `groups.npy`, `rows.safetensors`, and a report (`report.{html,png,json}`),
sealed by `graph.json`. A build that was killed goes on where it was when it is started again.
"""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np

from graph import outset
from graph.audit import checks
from graph.components import FILE, Components
from graph.config import Config, open_shards
from graph.corpus import build_corpus
from graph.earlier import Before, save_rows
from graph.groups import GROUPS, group_of_videos
from graph.modality import Modality, build_videos
from graph.positives.decide import Outcome, decide
from graph.ranks import Ranks
from graph.report import page, plots
from graph.report.findings import Report, report
from graph.report.labels import read_labels
from graph.rows.matrix import open_matrix
from graph.rows.write import write_matrices
from graph.seal import SEAL, seal
from graph.traced import components_of
from launch import tracking
from launch.atomic import resumable_folder, run_of
from launch.digest import sha256_file, sha256_json
from launch.progress import say
from launch.tracking import Record
from launch.world import World
from shards.read import Shards
from shards.schema import SECONDS
from shards.traced import shard_set

__all__ = ["Config", "check", "main"]
FILES = ("report.html", "report.png", "report.json", "graph.json")
"""What a run keeps of a graph."""


def check(config: Config) -> None:
    """Raises Refusal for what can be known before any work."""
    open_shards(config)


def main(config: Config) -> None:
    """Builds, reports and seals one graph; every process of the world runs this."""
    world = World.from_environment(config.seed, config.job.lost_after, config)
    ranks, shards = Ranks.of_world(world), open_shards(config)
    world.agree({"manifest of the shards": shards.manifest.digest[:12]})
    outset.tell(config, shards, world)
    plan = _plan(config, shards, ranks)
    beside = config.out.absolute().parent / f".{config.out.name}.{socket.gethostname()}.part"
    if world.leads:
        _lead(config, shards, world, ranks, plan)
    else:
        with tracking.run(config.tracking, "graph", config, leads=False):
            _sides(config, shards, world, ranks, beside / sha256_json(plan)[:16])
    ranks.barrier()
    if not world.leads and world.local_rank == 0:
        shutil.rmtree(beside)
    world.close()


def _lead(config: Config, shards: Shards, world: World, ranks: Ranks, plan: dict[str, str]) -> None:
    say(f"Read {len(shards):,} videos ({len(shards) * SECONDS:,} snippets) from {config.shards}.")
    labels = read_labels(config.labels) if config.labels else None
    with (
        tracking.run(config.tracking, "graph", config, resume=run_of(config.out, plan)) as record,
        resumable_folder(config.out, plan, config.replace) as unfinished,
    ):
        unfinished.run.write_text(record.run_id)
        base = [components_of(config.base)] if config.base and (config.base / FILE).is_file() else []
        record.reads(shard_set(shards), *base)
        sides = _sides(config, shards, world, ranks, unfinished.notes)
        outcome = decide(
            sides, config.thresholds, config.match, config.closure, config.refine, config.choice, config.seed
        )
        checked = checks(outcome, config.match, config.scope, config.seed, config.audit_snippets)
        sentences = [each.sentence() for each in checked]
        found = report(outcome, shards.keys, config.match, labels, config.seed, sentences, config.steps, config.choice)
        _write(config, shards, outcome, found, unfinished.result)
        _record(record, found, unfinished.result)
        record.makes(components_of(unfinished.result, config.out))
    for line in found.lines:
        say(line)
    say(f"Wrote forests, neighbour lists, components and a report to {config.out}: open {config.out}/report.html.")


def _sides(config: Config, shards: Shards, world: World, ranks: Ranks, notes: Path) -> list[Modality]:
    """Both modalities, whole on the leading process; collective.

    A host's processes share the notes of its first: the leading host's lie with the unfinished graph, another's beside
    its own `out`.
    """
    before = Before.load(config, shards) if config.base else None
    features = dict.fromkeys(config.features.values())
    if world.local_rank == 0 and not all((notes / f"{name}.rows.safetensors").exists() for name in features):
        write_matrices(shards, features, notes, config.rows)
    here = socket.gethostname()
    notes = {host: path for host, local, path in ranks.all((here, world.local_rank, notes)) if local == 0}[here]
    sides = []
    for name, feature in config.features.items():
        matrix, floor = open_matrix(notes / f"{feature}.rows.safetensors", shards.manifest.digest), config.floors[name]
        if config.rows.centre:
            matrix = matrix.centred(before.mean(name) if before else None)
        if config.scope == "video":
            sides.append(build_videos(name, matrix, floor))
            continue
        kept = notes / f"{name}.{ranks.rank}of{ranks.size}.safetensors"
        earlier = before.of(name, matrix) if before else None
        sides.append(build_corpus(name, matrix, floor, config.search, config.hubs, ranks, kept, earlier))
    return sides


def _plan(config: Config, shards: Shards, ranks: Ranks) -> dict[str, str]:
    """What an unfinished search depends on; the rest is cheap, and may change before the next start."""
    return {
        "shards": shards.manifest.digest,
        "features": f"{config.feature_audio}, {config.feature_visual}",
        "floors": f"{config.floor_audio!r}, {config.floor_visual!r}",
        "rows": sha256_json(config.rows.model_dump(mode="json")),
        "search": sha256_json(config.search.model_dump(mode="json")),
        "base": sha256_file(config.base / SEAL) if config.base and (config.base / SEAL).is_file() else "none",
        "scope": config.scope,
        "processes": str(ranks.size),
    }


def _write(config: Config, shards: Shards, outcome: Outcome, found: Report, folder: Path) -> None:
    """All files of the graph, the seal last."""
    digest, thresholds = shards.manifest.digest, {side.name: side.threshold for side in outcome.sides}
    for side in outcome.sides:
        header = {"manifest": digest, "feature": side.matrix.feature, "floor": str(side.floor), "engine": side.engine}
        side.forest.save(folder / f"forest_{side.name}.parquet", header)
        if side.neighbours:
            side.neighbours.save(folder / f"neighbours_{side.name}.safetensors", digest)
    if outcome.both:
        outcome.both.save(folder / "forest_both.parquet", {"manifest": digest, "thresholds": json.dumps(thresholds)})
    save_rows(outcome.sides, folder)
    ids = outcome.ids.reshape(len(shards), SECONDS, -1)
    components = Components(
        ids, shards.keys, digest, thresholds, config.match, config.scope, config.closure, config.refine
    )
    components.save(folder)
    np.save(folder / GROUPS, group_of_videos(ids))
    (folder / "report.json").write_text(json.dumps(found.facts, indent=1, allow_nan=False) + "\n")
    title = f"Similarity graph of {len(shards):,} videos, {len(shards) * SECONDS:,} snippets"
    plots.draw(found, title).savefig(folder / "report.png", dpi=120)
    page.write(folder / "report.html", found, title)
    settings: dict[str, Any] = config.model_dump(mode="json", exclude={"tracking", "reading", "job"})
    facts = {"manifest": digest, "settings": settings, "thresholds": thresholds, "chosen": found.chosen}
    seal(folder, facts | {"exact": {side.name: side.exact for side in outcome.sides}})


def _record(record: Record, found: Report, folder: Path) -> None:
    """What the run keeps: the numbers, the summary, the report."""
    record.text("summary.txt", "\n".join(found.lines) + "\n")
    record.metrics(0, found.chosen)
    for name in FILES:
        record.artifact(folder / name)
