"""What runs say of the parsers that they read and make."""

from pathlib import Path

from finetune.parser import WEIGHTS
from launch.digest import sha256_file
from launch.tracking import Thing


def parser_of(folder: Path, place: Path | None = None) -> Thing:
    """The parser in a folder, by the digest of its weights; `place`: where it will lie, if not there."""
    return Thing("parser", sha256_file(folder / WEIGHTS), place or folder)
