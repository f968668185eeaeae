"""Files and folders that appear whole or not at all: written beside their place, then renamed into it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.refusal import Refusal


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

    Raises Refusal when `path` already holds something, unless `replace` says that the new folder takes its place
    (the old one is moved aside first and deleted last).
    """
    if _occupied(path) and not replace:
        raise Refusal(
            f"An output folder must be new or empty, but '{path}' holds files: "
            "give another --out, or --replace True to let the new result take its place."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = _beside(path), _beside(path).with_suffix(".old")
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
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.absolute().parent / f".{path.name}.{os.getpid()}.part"


def _occupied(path: Path) -> bool:
    if path.is_dir():
        return any(path.iterdir())
    return path.exists()


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
