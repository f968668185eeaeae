"""The seal of a graph folder: `graph.json`, written last, with the facts and the sha256 of every other file.

Nothing is believed that the seal does not cover.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.digest import sha256_file
from launch.refusal import Refusal
from shards.read import Shards

SEAL = "graph.json"
FORMAT = "soundsight-graph-v2"


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes `graph.json`: the facts, and the sha256 of every file that lies in the folder so far."""
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != SEAL}
    text = json.dumps({"format": FORMAT, **facts, "files": files}, indent=1, allow_nan=False)
    (folder / SEAL).write_text(text + "\n")


def sealed(folder: Path, name: str, shards: Shards) -> tuple[dict[str, Any], Path]:
    """The facts of a graph folder and the path of one of its files, both checked against each other and the shards.

    Raises Refusal as `read_seal` and `sealed_file` do, and when the graph belongs to another manifest.
    """
    facts = read_seal(folder)
    if facts["manifest"] != shards.manifest.digest:
        raise Refusal(
            f"A graph must be built from the shards in use, but '{folder}' was built from manifest "
            f"{facts['manifest'][:12]} and '{shards.location}' has {shards.manifest.digest[:12]}: build the graph of "
            "these shards."
        )
    return facts, sealed_file(folder, name, facts)


def read_seal(folder: Path) -> dict[str, Any]:
    """The facts of a graph folder; raises Refusal when it has no seal, or one of another version."""
    try:
        facts = json.loads((folder / SEAL).read_text())
        version, known = (
            facts["format"],
            isinstance(facts.get("files"), dict) and isinstance(facts.get("manifest"), str),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(
            f"A graph folder must hold {SEAL}, but '{folder}' does not ({error!r}): give the folder that the graph "
            "stage wrote."
        ) from None
    if version != FORMAT or not known:
        raise Refusal(f"A graph must have format {FORMAT}, but '{folder}' has {version!r}: build it again.")
    return facts


def sealed_file(folder: Path, name: str, facts: Mapping[str, Any]) -> Path:
    """The path of one of a graph's files; raises Refusal when it is not the one that was sealed."""
    path, expected = folder / name, facts["files"].get(name)
    if expected is None:
        raise Refusal(
            f"A graph folder must hold {SEAL} with the checksum of '{name}', but '{folder}' does not: give the folder "
            "that the graph stage wrote."
        )
    if not path.is_file() or sha256_file(path) != expected:
        raise Refusal(
            f"A graph's files must be as they were written, but '{path}' is missing or was altered: "
            "copy it again, or build the graph again."
        )
    return path
