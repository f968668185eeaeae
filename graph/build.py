"""python -m launch graph --shards DIR --out DIR --threshold_audio 0.95 --threshold_visual 0.95

Shards → `forest_{audio,visual}.safetensors`, `neighbours_{audio,visual}.safetensors`, `components.safetensors`,
`report.json`, `report.png`, sealed by `graph.json`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from jaxtyping import Int64
from pydantic import Field, model_validator

from graph.audit import Audit, audit
from graph.components import FILE, Components, seal
from graph.forests.forest import components
from graph.forests.saturated import HIGHEST
from graph.groups import GROUPS, group_of_videos
from graph.modality import Modality, Scope, build_both, build_corpus, build_videos
from graph.report.findings import Report, report
from graph.report.plots import draw
from graph.rows.matrix import Matrix
from graph.rows.write import write_matrices
from graph.search.neighbours import check_k, nearest
from launch import tracking
from launch.atomic import whole_folder
from launch.progress import say
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Tracking
from shards.location import Location
from shards.read import ReadSettings, Shards
from shards.schema import SECONDS


class Config(Settings):
    """Which snippets mean the same: shards → similarity forests, components, and a report with plots."""

    shards: Location = Field(description="folder or URL of one shard set, such as shards/train")
    out: Path = Field(description="folder of the graph: forests, neighbour lists, components, report; must be new")
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    feature_audio: str = Field("vggish", description="feature whose cosines are the audio similarity")
    feature_visual: str = Field("resnet152", description="feature whose cosines are the visual similarity")
    threshold_audio: float = Field(ge=0, le=HIGHEST, description="cosine above which two snippets sound alike")
    threshold_visual: float = Field(ge=0, le=HIGHEST, description="cosine above which two snippets look alike")
    floor_audio: float = Field(
        0.8,
        ge=0,
        le=HIGHEST,
        description="cosine down to which the audio forest answers any threshold exactly; lower costs more exhaustive "
        "comparisons, and changes no component",
    )
    floor_visual: float = Field(0.8, ge=0, le=HIGHEST, description="the same for the visual forest")
    match: Literal["any", "all"] = Field("any", description="an edge needs a similarity in any modality, or in all")
    scope: Scope = Field("corpus", description="edges over the whole corpus, or only inside each video")
    centre: bool = Field(False, description="whether the mean row is subtracted first (features that lean one way)")
    k: int = Field(
        32,
        ge=1,
        description="neighbours listed for each snippet; more cost 8 bytes each and save exhaustive comparisons; "
        "components change only with who is a hub",
    )
    hub_similarity: float = Field(0.98, ge=0, le=1, description="cosine; a hub's k-th neighbour is at least this near")
    exclude_hubs: bool = Field(True, description="whether hubs (silence, black frames) get no edges in that modality")
    batch: int = Field(1024, ge=1, description="snippets searched for at a time; more cost memory, and change nothing")
    audit_snippets: int = Field(2000, ge=2, description="snippets that are checked by brute force and networkx")
    seed: int = Field(0, ge=0, description="seed of the report's samples; the graph itself has nothing random")
    reading: ReadSettings = ReadSettings()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _thresholds_are_exact(self) -> "Config":
        for name, (threshold, floor) in self.limits.items():
            if threshold < floor:
                raise ValueError(
                    f"threshold_{name} must be at or above floor_{name}, below which edges may be missing, but "
                    f"{threshold:g} < {floor:g}: raise the threshold or lower the floor"
                )
        return self

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """(threshold, floor) of each modality."""
        return {
            "audio": (self.threshold_audio, self.floor_audio),
            "visual": (self.threshold_visual, self.floor_visual),
        }

    @property
    def features(self) -> dict[str, str]:
        """The feature of each modality."""
        return {"audio": self.feature_audio, "visual": self.feature_visual}

    @property
    def thresholds(self) -> dict[str, float]:
        """The threshold of each modality."""
        return {name: threshold for name, (threshold, _) in self.limits.items()}


def main(config: Config) -> None:
    """Builds, reports and seals one graph."""
    shards = Shards.open(config.shards, config.reading)
    _check(config, shards)
    say(f"Read {len(shards):,} videos ({len(shards) * SECONDS:,} snippets) from {config.shards}.")
    with tracking.run(config.tracking, "graph", config) as record, whole_folder(config.out, config.replace) as folder:
        record.tags({"manifest": shards.manifest.digest})
        with TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as rows:  # NFS keeps mapped files a while
            matrices = write_matrices(shards, dict.fromkeys(config.features.values()), Path(rows))
            sides = [_modality(name, config, matrices[feature]) for name, feature in config.features.items()]
            ids = _components(config, sides)
            checked = audit(ids, sides, config.match, config.scope, config.seed, config.audit_snippets)
            if not checked.agrees:
                raise RuntimeError(f"{checked.sentence()} This is a fault of the program: the graph was not written.")
            found = report(ids, sides, shards.keys, config.match, config.seed)
        _write(config, shards, ids, sides, found, checked, folder)
        record.text("summary.txt", "\n".join(found.lines) + "\n")
        record.metrics(0, {name: float(value) for name, value in asdict(found.chosen).items()})
        for name in ("report.json", "report.png", "graph.json"):
            record.artifact(folder / name)
    for line in (*found.lines, checked.sentence()):
        say(line)
    say(f"Wrote forests, neighbour lists, {FILE}, {GROUPS}, report.json and report.png to {config.out}.")


def _check(config: Config, shards: Shards) -> None:
    """What can be refused before any work."""
    if config.reading.on_bad == "skip":
        raise Refusal("A graph must cover every video of its shards, so reading.on_bad must be 'stop': pack again.")
    for feature in (config.feature_audio, config.feature_visual):
        shards.check_feature(feature)
    if len(shards) < 2:
        raise Refusal(
            f"A graph across videos needs at least two, but '{config.shards}' holds {len(shards)}: pack more videos."
        )
    if config.scope == "corpus":
        check_k(len(shards) * SECONDS, config.k)


def _modality(name: str, config: Config, matrix: Matrix) -> Modality:
    matrix = matrix.centred() if config.centre else matrix
    if config.scope == "video":
        return build_videos(name, matrix, config.limits[name])
    lists = nearest(matrix, config.k, config.batch)
    return build_corpus(name, matrix, lists, config.limits[name], config.hub_similarity, config.exclude_hubs)


def _components(config: Config, sides: Sequence[Modality]) -> Int64[np.ndarray, " snippet"]:
    """The component of every snippet at the chosen thresholds; refused when not one edge is above them."""
    cuts = [side.forest.cut(side.threshold) for side in sides]
    if config.match == "all":
        cuts = [build_both(*sides).cut(0)]
    if not any(map(len, cuts)):
        highest = ", ".join(_highest(side) for side in sides)
        raise Refusal(
            f"A graph needs at least one edge, but no pair of snippets is above the thresholds {config.thresholds} "
            f"({highest}): lower a threshold, or set exclude_hubs to False where all snippets are hubs."
        )
    return components(len(sides[0].matrix), cuts)


def _highest(side: Modality) -> str:
    edges, hubs = side.forest.edges, int(side.hubs.sum())
    best = (
        f"highest {side.name} similarity {edges.similarity[0]:.4f}"
        if len(edges)
        else f"no {side.name} pair at the floor"
    )
    return f"{best}, {hubs} of {len(side.hubs)} snippets {side.name} hubs"


def _write(
    config: Config,
    shards: Shards,
    ids: Int64[np.ndarray, " snippet"],
    sides: Sequence[Modality],
    found: Report,
    checked: Audit,
    folder: Path,
) -> None:
    """All files of the graph, the seal last."""
    digest = shards.manifest.digest
    for side in sides:
        header = {"manifest": digest, "feature": side.matrix.feature, "floor": str(side.floor)}
        side.forest.save(folder / f"forest_{side.name}.safetensors", header)
        if side.neighbours:
            side.neighbours.save(folder / f"neighbours_{side.name}.safetensors", header)
    by_video = ids.reshape(len(shards), SECONDS)
    Components(by_video, shards.keys, digest, config.thresholds, config.match, config.scope).save(folder)
    np.save(folder / GROUPS, group_of_videos(by_video))
    facts = found.facts | {"audit": asdict(checked)}
    (folder / "report.json").write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n")
    title = f"Similarity graph of {len(shards):,} videos, {len(ids):,} snippets"
    draw(ids, sides, found, title).savefig(folder / "report.png", dpi=120)
    settings = config.model_dump(mode="json", exclude={"tracking"})
    seal(folder, {"manifest": digest, "settings": settings, "chosen": asdict(found.chosen)})
