"""The outset: what the building of a graph is about to do, as far as it is known before any comparison."""

from graph.config import Config
from launch.banner import Machines, amount, banner, gib
from launch.progress import say
from launch.world import World
from shards.read import Shards
from shards.schema import SECONDS


def tell(config: Config, shards: Shards, world: World) -> None:
    """Says what is about to happen. Collective."""
    machines = Machines.of(world)
    if world.leads:
        say(banner(f"Building the graph in '{config.out}'", facts(config, shards, machines, world)))


def facts(config: Config, shards: Shards, machines: Machines, world: World) -> dict[str, str]:
    """What the banner says, by name."""
    snippets = len(shards) * SECONDS
    chosen = {name: "auto" if value is None else f"{value:g}" for name, value in config.thresholds.items()}
    rows = {name: snippets * shards.manifest.features[feature].width * 2 for name, feature in config.features.items()}
    return {
        "devices": machines.words(),
        "snippets": f"{snippets:,} of {len(shards):,} videos",
        "compared": _compared(config, snippets, world.size),
        "similarity": ", ".join(
            f"{name} by {feature}, threshold {chosen[name]}, floor {config.floors[name]:g}"
            for name, feature in config.features.items()
        ),
        "components": f"match {config.match}, closure {config.closure}, refine {config.refine}",
        "rows": f"on disk, memory-mapped: {', '.join(f'{name} {gib(size)}' for name, size in rows.items())}",
        "time": "told by the bars of the search",
    }


def _compared(config: Config, snippets: int, ranks: int) -> str:
    if config.scope == "video":
        return f"{amount(snippets * (SECONDS - 1) / 2)} pairs inside videos in each modality".replace("  ", " ")
    if config.base:
        return "new snippets with all; those of the earlier graph among themselves no more"
    engine, pairs = config.search.chosen(snippets, ranks), amount(snippets * (snippets - 1) / 2)
    if engine in ("blocks", "faiss"):
        return f"{pairs} pairs in each modality, every one, by {engine}"
    return f"of {pairs} pairs in each modality those that {engine} proposes"
