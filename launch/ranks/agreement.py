"""Agreement: the ranks of one run have the same code, versions and settings and the right time, or none of them begins.

What differs would otherwise be found in the results, or never: a host that was not brought up to date, a settings file
of its own, another version, a wrong clock. All ranks find the same difference, and refuse with the same sentence.
"""

import platform
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch.distributed as dist

from launch.digest import sha256_json
from launch.refusal import Refusal
from launch.settings import Settings
from launch.source import commit, source_digest
from launch.tracking.redact import redacted

PACKAGES = ("torch", "deepspeed", "numpy")
CLOCKS = 5.0
"""Seconds that clocks may be apart. The ranks look at theirs when a barrier lets them go, which under load takes tenths
of a second; NTP keeps them within milliseconds. Curves, logs, locks and certificates are dated by them."""
CODE, SETTINGS = "code", "settings"


@dataclass(frozen=True)
class Told:
    """What one rank says of itself."""

    rank: int
    host: str
    facts: Mapping[str, str]
    """What must be equal, by name."""
    clock: float = 0.0
    """Seconds since 1970."""
    commit: str = ""
    """Where git keeps the code."""
    restarts: int = 0

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}"


def agree(settings: Settings | None, restarts: int) -> int:
    """How often this work was started before, as the rank that knows of most starts says; collective.

    Call it when all ranks have just left a barrier. Raises Refusal on all of them when their clocks, code, versions or
    settings differ; how they were started, `job`, may.
    """
    clock, values, kept = time.time(), _flat(settings), commit()
    known = f"commit {kept.id[:12]}{', changed' if kept.dirty else ''}" if kept else ""
    facts = {CODE: source_digest()[:12]} | _versions() | {SETTINGS: sha256_json(values)}
    told = _all(Told(dist.get_rank(), socket.gethostname(), facts, clock, known, restarts))
    wrong = clocks_apart(told) or difference(told)
    if not wrong and len({each.facts[SETTINGS] for each in told}) > 1:
        wrong = settings_apart(_all(Told(dist.get_rank(), socket.gethostname(), values)))
    if wrong:
        raise Refusal(wrong)
    return max(each.restarts for each in told)


def agree_on(facts: Mapping[str, str]) -> None:
    """Raises Refusal on every rank unless all know the same facts, such as the digest of what they read; collective."""
    wrong = difference(_all(Told(dist.get_rank(), socket.gethostname(), facts)))
    if wrong:
        raise Refusal(wrong)


def clocks_apart(told: Sequence[Told]) -> str:
    """A sentence that names the two clocks that are farthest apart; empty when all are near one another."""
    early, late = min(told, key=lambda each: each.clock), max(told, key=lambda each: each.clock)
    apart = late.clock - early.clock
    if apart <= CLOCKS:
        return ""
    return (
        f"The clocks of all hosts must agree to {CLOCKS:g} s, but that of {late.host} is {apart:,.0f} s ahead of "
        f"{early.host}'s: let NTP (chronyd) set both."
    )


def difference(told: Sequence[Told]) -> str:
    """A sentence that names the first fact in which a rank differs from rank 0, and both; empty when all are equal."""
    first = told[0]
    for name in first.facts:
        others = [each for each in told if each.facts.get(name) != first.facts[name]]
        if others and name != SETTINGS:
            remedy = {CODE: "bring the project's folder on both to the same version"}.get(
                name, "install the same on both" if name in (*PACKAGES, "python") else "give both the same"
            )
            return (
                f"Every rank must have the same {name}, but {first} has {_value(first, name)} and {others[0]} has "
                f"{_value(others[0], name)}{_more(others)}: {remedy}."
            )
    return ""


def settings_apart(told: Sequence[Told]) -> str:
    """A sentence that names every setting in which the first rank that differs from rank 0 does, and both values."""
    first = told[0]
    others = [each for each in told if each.facts != first.facts]
    names = sorted(name for name in {*first.facts, *others[0].facts} if _of(first, name) != _of(others[0], name))
    values = "; ".join(f"'{name}' is {_of(first, name)} and {_of(others[0], name)}" for name in names)
    return (
        f"Every rank must have the same settings, but on {first} and {others[0]}{_more(others)} {values}: give every "
        "host the same settings files and options."
    )


def _more(others: Sequence[Told]) -> str:
    return f" (and {len(others) - 1} more)" if len(others) > 1 else ""


def _value(told: Told, name: str) -> str:
    return f"{told.facts.get(name, 'none')}{f' ({told.commit})' if name == CODE and told.commit else ''}"


def _of(told: Told, name: str) -> str:
    return redacted(told.facts.get(name, "not there"))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def _flat(settings: Settings | None) -> dict[str, str]:
    return _flattened(settings.model_dump(mode="json", exclude={"job"})) if settings else {}


def _flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        flat |= _flattened(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": repr(value)}
    return flat


def _all(mine: Told) -> list[Told]:
    told: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(told, mine)
    return told
