"""A finished graph folder, made of its parts and not by the stage: small enough to know every pair."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from graph.components import Components
from graph.corpus import HubSettings, build_corpus
from graph.forests.forest import components
from graph.inspect import Config, main
from graph.modality import Modality, build_both
from graph.rows.write import write_matrices
from graph.seal import seal
from graph.search.search import SearchSettings
from shards.read import Shards

THRESHOLD = 0.9
HUBS = HubSettings(similarity=0.999)
FEATURES = {"audio": "vggish", "visual": "resnet152"}
SETTINGS = {"feature_audio": "vggish", "feature_visual": "resnet152", "hubs": HUBS.model_dump()}


@dataclass(frozen=True)
class Finished:
    """A graph folder, and what it was made of."""

    folder: Path
    shards: Shards
    sides: list[Modality]
    ids: np.ndarray

    def say(self, key: str, **settings: object) -> None:
        """Looks at a video."""
        main(Config(graph=self.folder, shards=self.shards.location, key=key, **settings))

    def cosine(self, modality: str, one: int, other: int) -> float:
        """The similarity of two snippets."""
        (side,) = (side for side in self.sides if side.name == modality)
        return float(side.matrix.tile(np.array([one]), np.array([other]))[0, 0])

    def name(self, snippet: int) -> str:
        """A snippet as `key@second`."""
        return f"{self.shards.keys[snippet // 10]}@{snippet % 10}"


def snippet_of(name: str) -> int:
    """The snippet of `video0012_0_10@3`."""
    return int(name[5:9]) * 10 + int(name[-1])


def finish(
    shards: Shards,
    work: Path,
    closure: str = "joint",
    match: str = "any",
    split: bool = False,
    hubs: HubSettings = HUBS,
) -> Finished:
    """Writes a graph folder below `work`; `split` makes components smaller than the edges do, as refinement does."""
    matrices = write_matrices(shards, dict.fromkeys(FEATURES.values()), work)
    sides = [
        build_corpus(name, matrices[feature], 0.8, SearchSettings(k=20), hubs) for name, feature in FEATURES.items()
    ]
    forests = {side.name: side.forest for side in sides}
    ways = [[side.forest.cut(THRESHOLD)] for side in sides]
    if match == "all":
        forests["both"] = build_both(*(replace(side, threshold=THRESHOLD) for side in sides))
        ways = [[forests["both"].cut(0)]]
    elif closure == "joint":
        ways = [[way[0] for way in ways]]
    ids = np.stack([components(len(shards) * 10, way) for way in ways], axis=1)
    if split:
        ids = np.unique(ids * 2 + np.arange(len(ids))[:, None] // 10 % 2, return_inverse=True)[1].reshape(ids.shape)
    folder, digest = work / "graph", shards.manifest.digest
    folder.mkdir()
    for name, forest in forests.items():
        forest.save(folder / f"forest_{name}.parquet", {"manifest": digest})
    for side in sides:
        assert side.neighbours
        side.neighbours.save(folder / f"neighbours_{side.name}.safetensors", digest)
    thresholds: Mapping[str, float] = dict.fromkeys(FEATURES, THRESHOLD)
    by_video = ids.reshape(len(shards), 10, -1)
    Components(by_video, shards.keys, digest, thresholds, match, "corpus", closure).save(folder)
    seal(folder, {"manifest": digest, "settings": SETTINGS | {"hubs": hubs.model_dump()}})
    return Finished(folder, shards, sides, ids)
