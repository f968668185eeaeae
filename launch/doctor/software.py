"""Software: python, this project's code, torch and the other packages, and which of faiss's builds is there."""

import importlib
import platform
import sys
from importlib.metadata import distributions
from pathlib import Path

import torch

from launch.doctor.finding import Finding, doubtful, failed, fine
from launch.source import commit, source_digest

OLDEST = (3, 11)
NEEDED = ("deepspeed", "mlflow", "numpy", "safetensors", "webdataset")
FAISS = {"faiss-cpu": "cpu", "faiss-gpu": "cuda12", "faiss-gpu-cuvs": "cuda13"}
"""The distributions that all provide the module `faiss`, and the extra that installs each."""
INSTALL = "install the project with its requirements: make install, or pip install -c constraints.txt -e '.[cpu]'"


def check() -> list[Finding]:
    """What is installed in this python's environment."""
    return [_python(), _code(), _torch(), _packages(), _faiss()]


def _python() -> Finding:
    version, found = platform.python_version(), f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < OLDEST:
        return failed("python", found, "use python 3.11 or newer", version)
    return fine("python", found, version)


def _code() -> Finding:
    digest, kept = source_digest()[:12], commit()
    known = f", commit {kept.id[:12]}{' with changes' if kept.dirty else ''}" if kept else ""
    return fine("code", f"{digest}{known}, in {Path.cwd()}", digest)


def _torch() -> Finding:
    version = torch.__version__
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPUs"
    return fine("torch", f"{version}, {built}", version)


def _packages() -> Finding:
    there = installed()
    missing = [name for name in NEEDED if name not in there]
    found = ", ".join(f"{name} {there[name]}" for name in NEEDED if name in there)
    if missing:
        return failed("packages", f"{' and '.join(missing)} not installed; {found}", INSTALL, found)
    return fine("packages", found, found)


def _faiss() -> Finding:
    there = {name: version for name, version in installed().items() if name in FAISS}
    found = " and ".join(f"{name} {version}" for name, version in there.items())
    if not there:
        extras = ", ".join(f"'.[{extra}]'" for extra in FAISS.values())
        return doubtful("faiss", "not installed", f"install one of {extras}: the graph stage needs it", "none")
    if len(there) > 1:
        remedy = f"they overwrite each other's files: pip uninstall {' '.join(there)}, then install one of them"
        return failed("faiss", f"{found} at once", remedy, found)
    try:
        importlib.import_module("faiss")
    except Exception as error:
        remedy = f"install it again: pip install --force-reinstall {next(iter(there))}"
        return failed("faiss", f"{found} cannot be imported ({' '.join(str(error).split())[:200]})", remedy, found)
    return fine("faiss", found, found)


def installed() -> dict[str, str]:
    """Distributions and their versions, their names in one spelling."""
    found = dict[str, str]()
    for each in distributions():
        if name := each.metadata["Name"]:
            found.setdefault(name.lower().replace("_", "-"), each.version)
    return dict(sorted(found.items()))
