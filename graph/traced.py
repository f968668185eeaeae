"""What runs say of the graphs that they read and make."""

from pathlib import Path

from graph.components import FILE
from launch.digest import sha256_file
from launch.tracking import Thing


def components_of(folder: Path, place: Path | None = None) -> Thing:
    """A graph's components, by the digest of their file; `place`: where the graph will lie, if not there."""
    return Thing("components", sha256_file(folder / FILE), place or folder)
