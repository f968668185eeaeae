"""python -m launch inspect --graph DIR --shards DIR --key KEY [--second N] [--to KEY@SECOND] [--graphml FILE]

Prints, for each second of a video or for one: its nearest neighbours, whether it is a hub or all zero, its component,
and the chain of similarities that ties it to another snippet. Writes nothing but the GraphML file, if one is named.

All of it is told at the graph's own thresholds: the forest of the pairs similar in both (match "all") knows no others.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field

from graph.components import FILE, Components
from graph.corpus import HubSettings
from graph.forests.forest import Forest
from graph.report.largest import named
from graph.seal import sealed
from graph.search.neighbours import NOBODY, Neighbours
from graph.ties import Link, Side, Ties, centre, write_graphml
from launch.progress import say
from launch.refusal import Refusal
from launch.settings import Settings
from shards.location import Location
from shards.read import ReadSettings, Shards
from shards.schema import MODALITIES, SECONDS

SHOWN = 16
"""Links of a chain that are printed, at most, and the weakest besides."""
BOTH = "both"
"""Names the side of match "all", whose pairs are similar in both modalities."""


class Config(Settings):
    """Why two snippets count as the same in a graph: components, neighbours, and what ties them together."""

    graph: Path = Field(description="folder that the graph stage wrote")
    shards: Location = Field(description="folder or URL of the shard set it was built from")
    key: str = Field(description="key of the video to look at; --key=KEY where it begins with a hyphen")
    second: int | None = Field(None, ge=0, lt=SECONDS, description="which second of it; all of them if left out")
    to: str = Field(
        "",
        description="key@second of another snippet: the chain to it is told; if left out, the chain to the best "
        "connected one of the same component",
    )
    graphml: Path | None = Field(None, description="file to write the component of the (first) second to, as GraphML")
    nearest: int = Field(5, ge=0, description="nearest neighbours that are named in each modality, at most")
    reading: ReadSettings = ReadSettings()


def main(config: Config) -> None:
    """Prints what there is to know about the snippets."""
    shards = Shards.open(config.shards, config.reading)
    video = _video(config.key, shards.keys)
    target = _snippet(config.to, shards.keys) if config.to else None
    graph = Graph.load(config.graph, shards)
    seconds = range(SECONDS) if config.second is None else [config.second]
    for second in seconds:
        for line in graph.lines(video * SECONDS + second, target, config.nearest):
            say(line)
    if config.graphml:
        graph.draw(config.graphml, video * SECONDS + seconds[0])


@dataclass(frozen=True)
class Way:
    """One way of belonging together: the components of both modalities joined, or of one."""

    name: str
    ids: Int[np.ndarray, " snippet"]
    sides: tuple[Side, ...]
    """Whose edges make the components."""

    @cached_property
    def ties(self) -> Ties:
        """The chains of this way's edges."""
        return Ties(self.sides)

    def members(self, snippet: int) -> Bool[np.ndarray, " snippet"]:
        """The snippets of a snippet's component."""
        return self.ids == self.ids[snippet]

    def component(self, snippet: int) -> Iterator[str]:
        """How large a snippet's component is, and whether refinement split it off a larger one."""
        members = np.flatnonzero(self.members(snippet))
        videos = len(np.unique(members // SECONDS))
        size = f"{len(members):,} snippets of {videos:,} videos" if videos > 1 else f"{len(members)} of this video only"
        yield f"  {self.name} component {self.ids[snippet]}: {size if len(members) > 1 else 'this snippet alone'}"
        whole = int((self.ties.literal == self.ties.literal[snippet]).sum())
        if whole > len(members):
            yield f"    split off by refinement: the edges hold {whole:,} snippets together"

    def tie(self, snippet: int, target: int | None, keys: Sequence[str]) -> Iterator[str]:
        """The chain from a snippet to the target, or to the best connected snippet of its component."""
        members = self.members(snippet)
        end = centre(members, self.sides) if target is None else target
        chain = self.ties.chain(snippet, end)
        if chain is None:
            yield f"    not tied to {_name(end, keys)}: no chain of similarities above the thresholds joins the two"
        elif chain:
            which = "its best connected snippet, " if target is None else ""
            apart = "" if members[end] else ", though refinement put the two into different components"
            yield f"    tied to {which}{_name(end, keys)}, by {self._count(len(chain))}{apart}:"
            yield from _links(chain, members, keys)
        elif members.sum() > 1:
            yield f"    {'the best connected snippet of its component' if target is None else 'the snippet itself'}"

    def _count(self, links: int) -> str:
        said = "one similarity" if links == 1 else f"{links} similarities"
        in_both = self.sides[0].name == BOTH
        return f"{said} in both modalities (told: the smaller margin over the thresholds)" if in_both else said


@dataclass(frozen=True)
class Graph:
    """A finished graph folder, every file checked against its seal."""

    shards: Shards
    sides: tuple[Side, ...]
    features: tuple[str, ...]
    """The feature of each side."""
    ways: tuple[Way, ...]

    @classmethod
    def load(cls, folder: Path, shards: Shards) -> "Graph":
        """The graph of these shards; raises Refusal where a file is missing, altered, or another manifest's."""
        found = Components.load(folder, shards)
        facts, _ = sealed(folder, FILE, shards)
        sides = tuple(_side(name, folder, shards, found.thresholds[name]) for name in MODALITIES)
        ids = found.ids.reshape(len(shards) * SECONDS, -1).T
        if found.match == "all":
            if f"forest_{BOTH}.parquet" not in facts["files"]:
                raise Refusal(
                    f"Chains of match 'all' go along pairs similar in both modalities, but '{folder}' holds no "
                    "forest_both.parquet with those: build the graph again."
                )
            ways = [Way("joint", ids[0], (_side(BOTH, folder, shards, 0.0),))]
        elif len(ids) == 1:
            ways = [Way("joint", ids[0], sides)]
        else:
            ways = [Way(side.name, own, (side,)) for side, own in zip(sides, ids, strict=True)]
        return cls(shards, sides, tuple(facts["settings"][f"feature_{name}"] for name in MODALITIES), tuple(ways))

    def lines(self, snippet: int, target: int | None, nearest: int) -> Iterator[str]:
        """What there is to know of a snippet, in words."""
        yield _name(snippet, self.shards.keys)
        for side, feature in zip(self.sides, self.features, strict=True):
            yield f"  {side.name}: {self._neighbours(side, feature, snippet, nearest)}"
        for way in self.ways:
            yield from way.component(snippet)
            yield from way.tie(snippet, target, self.shards.keys)

    def draw(self, file: Path, snippet: int) -> None:
        """Writes the snippet's component as GraphML; with two ways, two files, the way's name in theirs.

        Raises Refusal for a file that is there already.
        """
        paths = [file if len(self.ways) == 1 else file.with_stem(f"{file.stem}_{way.name}") for way in self.ways]
        for path in paths:
            if path.exists():
                raise Refusal(f"A drawing must be a new file, but '{path}' is there already: give another --graphml.")
        for way, path in zip(self.ways, paths, strict=True):
            nodes, edges = write_graphml(path, way.members(snippet), way.sides, self.shards.keys)
            name = _name(snippet, self.shards.keys)
            say(f"Wrote the {way.name} component of {name} to {path}: {nodes:,} snippets, {edges:,} edges.")

    def _neighbours(self, side: Side, feature: str, snippet: int, count: int) -> str:
        video, second = divmod(snippet, SECONDS)
        if not self.shards.batch([video], [feature]).features[feature][0, second].any():
            return "the row is all zero, so it has no edges here"
        if side.neighbours is None:
            return "no lists, since edges join only the seconds of one video"
        listed = side.neighbours.indices[snippet] != NOBODY
        near, similar = side.neighbours.indices[snippet][listed], side.neighbours.similarities[snippet][listed]
        elsewhere = np.flatnonzero(near // SECONDS != video)[:1].tolist()
        said = [f"{name} {s:.4f}" for name, s in zip(named(near, self.shards.keys), similar, strict=True)]
        shown = said[:count]
        shown += [f"in another video {said[place]}" for place in elsewhere if place >= count]
        above = similar > np.float32(side.threshold)
        hub = f"a hub, {'so it has no edges' if side.without[snippet] else 'which keeps its edges'} here; "
        barred = int(side.without[near[above]].sum())
        but = f", of which {barred} are hubs without edges" if barred else ""
        names = f"{hub if side.hubs[snippet] else ''}nearest {', '.join(shown) or 'nobody'}"
        return f"{names} ({int(above.sum())} of {len(near)} listed are above {side.threshold:.4f}{but})"


def _side(name: str, folder: Path, shards: Shards, threshold: float) -> Side:
    """One modality's files, or with the name BOTH the forest of the pairs similar in both.

    That one has no lists, and its similarities are margins: the smaller of the two over the graph's own thresholds.
    """
    facts, forest_file = sealed(folder, f"forest_{name}.parquet", shards)
    forest, _ = Forest.load(forest_file)
    hubs, lists = HubSettings(**facts["settings"]["hubs"]), f"neighbours_{name}.safetensors"
    if lists not in facts["files"]:
        none = np.zeros(forest.nodes, bool)
        return Side(name, threshold, forest, None, none, none)
    near = Neighbours.load(sealed(folder, lists, shards)[1])
    found = near.hubs(hubs.similarity)
    return Side(name, threshold, forest, near, found, found & hubs.exclude)


def _links(chain: Sequence[Link], members: Bool[np.ndarray, " snippet"], keys: Sequence[str]) -> Iterator[str]:
    """The links, the weakest marked; the middle of a long chain is left out, save the weakest."""
    weakest, skipped = min(range(len(chain)), key=lambda number: chain[number].margin), 0
    for number, link in enumerate(chain):
        if number != weakest and SHOWN // 2 <= number < len(chain) - SHOWN // 2:
            skipped += 1
            continue
        if skipped:
            yield f"      … {skipped} more …"
            skipped = 0
        mark = f"  ← the weakest, {link.margin:.4f} above its threshold" if number == weakest and len(chain) > 1 else ""
        outside = "" if members[link.to] else "  (of another component since refinement)"
        yield f"      {link.modality} {link.similarity:.4f} → {_name(link.to, keys)}{outside}{mark}"


def _name(snippet: int, keys: Sequence[str]) -> str:
    return named(np.array([snippet]), keys)[0]


def _video(key: str, keys: Sequence[str]) -> int:
    """The place of a video; raises Refusal with the nearest keys where there is none of that name."""
    if key in keys:
        return keys.index(key)
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.5)
    remedy = f"did you mean {', '.join(map(repr, near))}?" if near else f"the first of {len(keys):,} is '{keys[0]}'."
    raise Refusal(f"A key must be one of the shards' videos, but '{key}' is not: {remedy}")


def _snippet(name: str, keys: Sequence[str]) -> int:
    """The snippet of `key@second`."""
    key, _, second = name.rpartition("@")
    if not key or second not in map(str, range(SECONDS)):
        raise Refusal(
            f"A snippet must be named key@second with a second from 0 to {SECONDS - 1}, but --to is '{name}': "
            f"write for instance {keys[0]}@3."
        )
    return _video(key, keys) * SECONDS + int(second)
