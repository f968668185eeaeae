"""The shelf: all journals under a run root."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.tracking.journal import FOLDER, LINES, Operation, is_end, noted, parsed


def journals(root: Path) -> Sequence[str]:
    """The ids of the runs that have a journal under a root, the one that began first before others."""
    found = sorted((root / FOLDER).glob(f"*{LINES}"), key=_birth)
    return [path.name.removesuffix(LINES) for path in found]


def stores(root: Path) -> list[str]:
    """The stores for which there are journals under a root."""
    paths = sorted((root / FOLDER).glob(f"*{LINES}"))
    found = [str(_known(path).get("store", "")) for path in paths]
    return [each for each in dict.fromkeys(found) if each]


def parked(root: Path, run_id: str) -> bool:
    """Whether a run has a journal under a root."""
    return (root / FOLDER / f"{run_id}{LINES}").exists()


@dataclass
class Owner:
    """Whose a journal is, as can be read while another process writes it."""

    store: str
    """The store it is meant for; empty where it does not say."""
    host: str
    """The machine of the process that wrote it last; empty where it does not say."""
    target: str
    """Which run of the store it is; empty where there is none yet."""
    ended: bool
    """Whether it says how the run ended."""


def owner(root: Path, run_id: str) -> Owner | None:
    """Whose a run's journal is, found without opening it to write; None where there is none any more."""
    path = root / FOLDER / f"{run_id}{LINES}"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    known = _known(path)
    store, host, target = (str(known.get(name, "")) for name in ("store", "host", "run"))
    return Owner(store, host, target, is_end(content[: content.rfind(b"\n") + 1].splitlines()))


def _known(path: Path) -> Operation:
    return _first(path) | noted(path)


def _birth(path: Path) -> float:
    return float(_first(path).get("time", 0))


def _first(path: Path) -> Operation:
    try:
        with path.open("rb") as file:
            return parsed(file.readline())
    except FileNotFoundError:  # its process ended just now
        return {}
