"""Files and folders that appear whole or not at all: written beside their place, then renamed into it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.refusal import Refusal

RESULTS = {".tar", ".json", ".safetensors", ".npy", ".csv", ".png"}
"""The kinds of files that stages write; a folder that holds any other is never replaced."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; renamed onto it at a clean end, removed on an exception.

    The bytes are on the disk (fsync) before the name is, so a reader sees the old file or the new one, never half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path`; renamed onto it at a clean end, removed on an exception.

    Raises Refusal at once when `path` already holds something, unless `replace` says that the new folder takes its
    place; then the old one is moved aside first, deleted last, and put back if anything comes in between. What does
    not look like a stage's result is never replaced.
    """
    _check_target(path, replace)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    old = temporary.with_suffix(".old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _sync_tree(temporary)
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _check_target(path: Path, replace: bool) -> None:
    if path.exists() and not path.is_dir():
        raise Refusal(f"An output folder must not be a file, but '{path}' is one: give another --out.")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not replace:
        raise Refusal(
            f"An output folder must be new or empty, but '{path}' holds files: "
            "give another --out, or --replace True to let the new result take its place."
        )
    foreign = next((file for file in path.rglob("*") if file.is_file() and file.suffix not in RESULTS), None)
    if foreign or Path.cwd().is_relative_to(path.resolve()):
        found = f"holds '{foreign.relative_to(path)}'" if foreign else "is where this command runs"
        raise Refusal(
            f"Only a stage's result may be replaced, but '{path}' {found}, which no stage wrote: give another --out."
        )


def _beside(path: Path) -> Path:
    return path.absolute().parent / f".{path.name}.{os.getpid()}.part"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for inner in folder.rglob("*"):
        if inner.is_file():
            _sync(inner)
