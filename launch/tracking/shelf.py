"""The shelf: all journals under a run root."""

from collections.abc import Sequence
from pathlib import Path

from launch.tracking.journal import FOLDER, LINES, Operation, noted, parsed


def journals(root: Path) -> Sequence[str]:
    """The ids of the runs that have a journal under a root, the one that began first before others."""
    found = sorted((root / FOLDER).glob(f"*{LINES}"), key=_birth)
    return [path.name.removesuffix(LINES) for path in found]


def stores(root: Path) -> list[str]:
    """The stores for which there are journals under a root."""
    paths = sorted((root / FOLDER).glob(f"*{LINES}"))
    found = [str((_first(path) | noted(path)).get("store", "")) for path in paths]
    return [each for each in dict.fromkeys(found) if each]


def parked(root: Path, run_id: str) -> bool:
    """Whether a run has a journal under a root."""
    return (root / FOLDER / f"{run_id}{LINES}").exists()


def _birth(path: Path) -> float:
    return float(_first(path).get("time", 0))


def _first(path: Path) -> Operation:
    try:
        with path.open("rb") as file:
            return parsed(file.readline())
    except FileNotFoundError:  # its process ended just now
        return {}
