"""A sealed folder: `files.json` lists its files with their sha256, so that a torn or altered one is known as such."""

import json
from pathlib import Path

from launch.atomic import sync, whole_file
from launch.digest import sha256_file

FILES = "files.json"


def seal(folder: Path) -> None:
    """Flushes all to the disk and lists every file with its sha256 in `files.json`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {str(path.relative_to(folder)): sha256_file(path) for path in files}
    for path in [*files, *(each for each in folder.rglob("*") if each.is_dir())]:
        sync(path)
    with whole_file(folder / FILES) as listed:
        listed.write_text(json.dumps(hashes, indent=1))


def fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None for one whose files are exactly the listed ones, unaltered."""
    try:
        hashes: dict[str, str] = json.loads((folder / FILES).read_text())
    except (OSError, ValueError):
        return f"its list {FILES} is missing or damaged"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {FILES}
    if there != set(hashes):
        name = sorted(there ^ set(hashes))[0]
        return f"'{name}' is {'missing' if name in hashes else 'not in its list'}"
    altered = [name for name, expected in sorted(hashes.items()) if sha256_file(folder / name) != expected]
    return f"'{altered[0]}' is not as it was written" if altered else None
