"""Which shard sets there are at a location: one, or several in folders of their own."""

from pathlib import Path

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
    return Manifest.parse(fetch_bytes(place, tries, MOST), place)


def find_sets(location: str, tries: int) -> dict[str, tuple[str, Manifest]]:
    """Name → location and manifest: the set itself as "" when there is a manifest, else those of the folders below.

    Raises Refusal when there is no set, or Denied when that is why none was found.
    """
    found, denied = dict[str, tuple[str, Manifest]](), list[Denied]()
    for name, place in [("", location), *_below(location)]:
        manifest = _manifest(place, tries, denied)
        if manifest is not None:
            found[name] = place, manifest
            if not name:
                return found
    if not found and denied:
        raise denied[0]
    if not found:
        names = f" ({', '.join(NAMES)})" if is_remote(location) else ""
        raise Refusal(
            f"A folder of shards must hold {NAME}, or subfolders{names} that do, but '{location}' does not: "
            "give the folder that pack or export wrote."
        )
    return found


def _manifest(location: str, tries: int, denied: list[Denied]) -> Manifest | None:
    """The manifest there, if there is one; who may not list a bucket of S3 is denied what is missing from it."""
    if not is_remote(location) and not (Path(location) / NAME).exists():
        return None
    try:
        return read_manifest(location, tries)
    except Missing:
        return None
    except Denied as denial:
        denied.append(denial)
        return None


def _below(location: str) -> list[tuple[str, str]]:
    if is_remote(location):
        return [(name, join(location, name)) for name in NAMES]
    return [(path.parent.name, str(path.parent)) for path in sorted(Path(location).glob(f"*/{NAME}"))]
