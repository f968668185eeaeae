"""The settings of the graph stage, and what can be refused before any work."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from graph.corpus import HubSettings
from graph.forests.saturated import HIGHEST
from graph.modality import Scope
from graph.positives.closure import Closure, Match
from graph.positives.decide import Refine
from graph.positives.thresholds import ThresholdSettings
from graph.rows.write import RowSettings
from graph.search.search import SearchSettings
from launch.job import Job
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Tracking
from shards.location import Location
from shards.read import ReadSettings, Shards
from shards.schema import SECONDS

Threshold = float | Literal["auto"]


class Config(Settings):
    """Which snippets mean the same: shards → similarity forests, components, and a report to look at."""

    shards: Location = Field(description="folder or URL of one shard set, such as shards/train")
    out: Path = Field(description="folder of the graph: forests, neighbour lists, components, report; must be new")
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    base: Path | None = Field(
        None,
        description="folder of an earlier graph of some of these videos: its neighbour lists are kept, and only new "
        "videos are searched for; with none new, another threshold, closure or refinement needs no search",
    )
    feature_audio: str = Field("vggish", description="feature whose cosines are the audio similarity")
    feature_visual: str = Field("resnet152", description="feature whose cosines are the visual similarity")
    threshold_audio: Threshold = Field(
        "auto", description="cosine above which two snippets sound alike; auto: chosen by how random components look"
    )
    threshold_visual: Threshold = Field("auto", description="cosine above which two snippets look alike, likewise")
    floor_audio: float = Field(
        0.8,
        ge=0,
        le=HIGHEST,
        description="cosine down to which the audio forest answers any threshold exactly, and lists name neighbours; "
        "lower costs more exhaustive comparisons",
    )
    floor_visual: float = Field(0.8, ge=0, le=HIGHEST, description="the same for the visual forest")
    match: Match = Field("any", description="an edge needs a similarity in any modality, or in all")
    closure: Closure = Field(
        "joint",
        description="joint (the paper): components of all edges together; per_modality: components of each modality, "
        "two snippets being positive if either is the same",
    )
    refine: Refine = Field(
        "propagation",
        description="propagation: components that look chained are split by label propagation; none: the literal paper",
    )
    scope: Scope = Field("corpus", description="edges over the whole corpus, or only inside each video")
    labels: tuple[Path, ...] = Field(
        (), description="label tables (LLP's weak tables, AudioSet's segments) to tell the components' purity by"
    )
    steps: int = Field(50, ge=2, description="thresholds of each modality in the report's grid")
    audit_snippets: int = Field(2000, ge=2, description="snippets that are checked by brute force and networkx")
    seed: int = Field(0, ge=0, description="seed of samples and refinement; edges have nothing random in them")
    rows: RowSettings = RowSettings()
    search: SearchSettings = SearchSettings()
    hubs: HubSettings = HubSettings()
    choice: ThresholdSettings = ThresholdSettings()
    reading: ReadSettings = ReadSettings()
    tracking: Tracking = Tracking()
    job: Job = Job()

    @model_validator(mode="after")
    def _thresholds_are_exact(self) -> "Config":
        for name, threshold in self.thresholds.items():
            floor = self.floors[name]
            if threshold is not None and not floor <= threshold <= HIGHEST:
                raise ValueError(
                    f"threshold_{name} must be auto, or lie between floor_{name}, below which edges may be missing, "
                    f"and {HIGHEST:g}, above which rounding decides, but {threshold:g} is not in {floor:g} to "
                    f"{HIGHEST:g}: choose another, or lower the floor"
                )
        return self

    @model_validator(mode="after")
    def _hubs_are_listed(self) -> "Config":
        if self.scope == "corpus" and self.hubs.similarity < max(self.floors.values()):
            raise ValueError(
                f"hubs.similarity must be at or above both floors, below which no neighbour is listed, but "
                f"{self.hubs.similarity:g} < {max(self.floors.values()):g}: raise it or lower the floor"
            )
        return self

    @model_validator(mode="after")
    def _ways_fit(self) -> "Config":
        if self.match == "all" and self.closure == "per_modality":
            raise ValueError(
                "closure per_modality joins snippets in one modality at a time, which match all forbids: "
                "choose match any, or closure joint"
            )
        return self

    @property
    def features(self) -> Mapping[str, str]:
        """The feature of each modality."""
        return {"audio": self.feature_audio, "visual": self.feature_visual}

    @property
    def floors(self) -> Mapping[str, float]:
        """The floor of each modality."""
        return {"audio": self.floor_audio, "visual": self.floor_visual}

    @property
    def thresholds(self) -> Mapping[str, float | None]:
        """The given threshold of each modality; None where it is to be chosen."""
        given = {"audio": self.threshold_audio, "visual": self.threshold_visual}
        return {name: None if value == "auto" else value for name, value in given.items()}


def open_shards(config: Config) -> Shards:
    """The shards of a graph; raises Refusal for all that can be known before any work."""
    if config.reading.on_bad == "skip":
        raise Refusal("A graph must cover every video of its shards, so reading.on_bad must be 'stop': pack again.")
    shards = Shards.open(config.shards, config.reading)
    for feature in config.features.values():
        shards.check_feature(feature)
    if len(shards) < 2:
        raise Refusal(
            f"A graph across videos needs at least two, but '{config.shards}' holds {len(shards)}: pack more videos."
        )
    if config.scope == "corpus":
        config.search.chosen(len(shards) * SECONDS, config.job.processes)
    if config.scope == "video" and config.base:
        raise Refusal("A graph inside videos has no lists to build on, but base is given: leave it out.")
    return shards
