"""Facts: which code, packages, hosts and devices a run had, logged once a start."""

import getpass
import platform
from importlib.metadata import PackageNotFoundError, distributions, version

from launch.source import commit, source_digest
from launch.tracking.machine import Host
from launch.tracking.record import Record

TOLD = ("torch", "deepspeed", "mlflow")
"""Packages whose versions are tags, so that runs can be compared by them; `packages.txt` lists all."""


def note(record: Record, stage: str) -> None:
    """Writes tags and `packages.txt`; MLflow's own names where it has any, so that its pages show them."""
    if not record.run_id:
        return
    told = {"mlflow.source.name": f"launch {stage}", "mlflow.source.type": "LOCAL", "mlflow.user": _user()}
    record.tags(told | code() | versions() | Host.here().told())
    record.text("packages.txt", "\n".join(packages()) + "\n")


def code() -> dict[str, str]:
    """The digest of the code that runs, and its commit where git keeps it."""
    kept = commit()
    told = {"mlflow.source.git.commit": kept.id, "mlflow.source.git.dirty": str(kept.dirty).lower()} if kept else {}
    return {"source": source_digest(), **told}


def versions() -> dict[str, str]:
    """Python's version, and those of the packages that matter most; a package that is not here is left out."""
    found = {"python": platform.python_version()}
    for name in TOLD:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def packages() -> list[str]:
    """Every installed package as `name==version`, in the order of names."""
    return sorted({f"{each.name}=={each.version}" for each in distributions()}, key=str.lower)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return ""
