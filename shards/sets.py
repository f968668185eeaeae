"""Which shard sets there are at a location: one, or several in folders of their own."""

from pathlib import Path

from launch.progress import say
from launch.refusal import Refusal
from shards.location import is_remote, join
from shards.manifest import MOST, NAME, Manifest
from shards.remote.fetch import Denied, Missing, fetch_bytes

NAMES = ("train", "validation", "test", "unlabelled")
"""The sets that are looked for below a URL, which cannot be listed as a folder can."""


def read_manifest(location: str, tries: int) -> Manifest:
    """The manifest of the set at a folder or URL; Missing or Refusal when there is none, or none that can be read."""
    if not is_remote(location):
        return Manifest.read(Path(location))
    place = join(location, NAME)
    try:
        return Manifest.parse(fetch_bytes(place, tries, MOST), place)
    except Missing:
        raise Missing(
            f"A shard set must hold {NAME}, but '{location}' does not: name a folder that pack or export wrote, or "
            f"one of the sets in it ({', '.join(NAMES)})."
        ) from None


def find_sets(location: str, tries: int) -> dict[str, tuple[str, Manifest]]:
    """Name → location and manifest: the set itself as "" when there is a manifest, else those of the folders below.

    Raises Refusal when there is no set. What is denied raises Denied over http; s3 and gs deny what is missing, too, to
    someone who may not list, so there it is said, and raised only when no set was found.
    """
    found, denied = dict[str, tuple[str, Manifest]](), dict[str, Denied]()
    for name, place in [("", location), *_below(location)]:
        manifest = _manifest(place, tries, denied)
        if manifest is not None:
            found[name] = place, manifest
            if not name:
                return found
    if not found and denied:
        raise next(iter(denied.values()))
    if not found:
        if not is_remote(location) and not Path(location).is_dir():
            raise Refusal(
                f"A location of shards must be a folder or a URL, but '{location}' is no folder: look for it."
            )
        names = f" ({', '.join(NAMES)})" if is_remote(location) else ""
        raise Refusal(
            f"A folder of shards must hold {NAME}, or subfolders{names} that do, but '{location}' does not: "
            "give the folder that pack or export wrote."
        )
    if denied:
        places = ", ".join(f"'{place}'" for place in denied)
        say(f"Not looked into, since the store denies them (as it may deny what is missing): {places}.")
    return found


def _manifest(location: str, tries: int, denied: dict[str, Denied]) -> Manifest | None:
    """The manifest there, if there is one; what a bucket denies is noted."""
    if not is_remote(location) and not (Path(location) / NAME).exists():
        return None
    try:
        return read_manifest(location, tries)
    except Missing:
        return None
    except Denied as denial:
        if location.startswith("http"):
            raise
        denied[location] = denial
        return None


def _below(location: str) -> list[tuple[str, str]]:
    if is_remote(location):
        return [(name, join(location, name)) for name in NAMES]
    return [(path.parent.name, str(path.parent)) for path in sorted(Path(location).glob(f"*/{NAME}"))]
