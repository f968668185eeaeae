"""Inputs: shard sets that can be opened here, and whether they are the same on every host."""

from importlib import import_module

from launch.doctor.finding import Finding, failed, fine
from launch.refusal import Refusal

READER = "shards.read"
"""The room above that opens shard sets, by name: the floor imports none."""


def check(location: str) -> list[Finding]:
    """Whether the shard set, or every set of a folder of sets, can be opened; its bytes are not read (see verify)."""
    try:
        sets = import_module(READER).open_sets(location)
        if not sets:
            raise Refusal(f"'{location}' holds no manifest.json, and no folder that does")
        found = [_one(f"{location}/{name}".rstrip("/"), each) for name, each in sets.items()]
    except (Refusal, OSError) as error:
        remedy = "mount or copy it on this host, and look at it with `python -m launch verify`"
        return [failed("shards", " ".join(str(error).split())[:300], remedy)]
    return found


def _one(place: str, shards: object) -> Finding:
    manifest = shards.manifest  # type: ignore[attr-defined]
    found = f"{place}: {manifest.videos:,} videos in {len(manifest.shards)} shards, manifest {manifest.digest[:12]}"
    return fine(f"shards {place.rsplit('/', maxsplit=1)[-1]}", found, manifest.digest)
