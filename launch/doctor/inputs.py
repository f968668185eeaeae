"""Inputs: shard sets that can be opened here, and whether they are the same on every host."""

from importlib import import_module
from typing import Any

from launch.doctor.finding import Finding, failed, fine
from launch.refusal import Refusal
from launch.tracking.redact import redacted

READER = "shards.read"
"""The room above that opens shard sets, by name: the floor imports none."""


def check(location: str) -> list[Finding]:
    """Whether the shard set, or every set of a folder of sets, can be opened; its bytes are not read (see verify)."""
    try:
        sets = import_module(READER).open_sets(location)
        if not sets:
            raise Refusal(f"'{location}' holds no manifest.json, and no folder that does")
        found = [_one(location, name, each.manifest) for name, each in sets.items()]
    except (Refusal, OSError) as error:
        remedy = "mount or copy it on this host, and look at it with `python -m launch verify`"
        return [failed("shards", redacted(" ".join(str(error).split()))[:300], remedy)]
    return found


def _one(location: str, name: str, manifest: Any) -> Finding:
    """A set by its name in a folder of sets, "" where the location is that of one set."""
    where = f"'{name}' in {redacted(location)}" if name else redacted(location)
    found = f"{where}: {manifest.videos:,} videos in {len(manifest.shards)} shards, manifest {manifest.digest[:12]}"
    return fine(f"shards {name}".strip(), found, manifest.digest)
