"""Files and folders that appear whole or not at all: written beside their place, then renamed into it."""

import fcntl
import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from launch.digest import sha256_json
from launch.progress import say
from launch.refusal import Refusal
from launch.target import check_target

RUN = "run"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; renamed onto it at a clean end, removed on an exception.

    The bytes are on the disk (fsync) before the name is, so a reader sees the old file or the new one, never half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path`; renamed onto it at a clean end, removed on an exception.

    Raises Refusal at once when `path` already holds something, unless `replace` says that the new folder takes its
    place; then the old one is moved aside first, deleted last, and put back if anything comes in between. What does
    not look like a stage's result is never replaced.
    """
    check_target(path, replace)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _into_place(temporary, path, temporary.with_suffix(".old"))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass(frozen=True)
class Unfinished:
    """A folder in the making that outlives the process which makes it."""

    result: Path
    """What becomes the folder."""
    notes: Path
    """What the next start needs to know of the result's parts; it never becomes part of the folder."""
    run: Path
    """The file with the id of the MLflow run that makes it; see `run_of`."""


@contextmanager
def resumable_folder(
    path: Path, plan: Mapping[str, str], replace: bool = False, start_over: bool = True
) -> Iterator[Unfinished]:
    """A folder that a later start goes on with; renamed onto `path` at a clean end, as `whole_folder` does.

    Until then it lies in `.<name>.part` beside `path`, which stays there after an exception or a kill if there are
    notes in it. `plan` says in named parts what the folder will hold: a start with an equal plan finds the files of
    the one before, half-written ones too, so it checks them by its notes; a start with another says what changed and
    begins anew, unless `start_over` is False: then it is refused. Raises Refusal also while another process makes the
    same folder, and for what `whole_folder` refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    old = part / "old"
    check_target(path, replace)
    with _locked(part):
        try:
            if old.exists() and not path.exists():  # killed between the two renames
                os.replace(old, path)
            shutil.rmtree(old, ignore_errors=True)
            check_target(path, replace)
            unfinished = _unfinished(part, plan, start_over)
            yield unfinished
            check_target(path, replace)
            _into_place(unfinished.result, path, old)
            shutil.rmtree(part, ignore_errors=True)
        finally:
            if not any(part.glob("*/notes/*")):
                shutil.rmtree(part, ignore_errors=True)


def run_of(path: Path, plan: Mapping[str, str]) -> str:
    """The MLflow run that began the folder which a `resumable_folder` of this plan goes on with; "" for none."""
    noted = _work(_part(path), plan) / RUN
    return noted.read_text() if noted.exists() else ""


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Holds the lock in a folder, which is made if need be; Refusal when another process holds it."""
    lock = None
    while lock is None:
        part.mkdir(exist_ok=True)
        lock = _lock(part / "lock")
    try:
        yield
    finally:
        os.close(lock)


def _lock(file: Path) -> int | None:
    """The descriptor of the locked file; None when its holder finished just now, and took the folder away."""
    try:
        lock = os.open(file, os.O_CREAT | os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.stat(file), os.fstat(lock)):
            return lock
    except BlockingIOError:
        os.close(lock)
        raise Refusal(
            f"A folder must be made by one process at a time, but another is at work in '{file.parent}': "
            "wait for it, or give another --out."
        ) from None
    except FileNotFoundError:
        pass
    os.close(lock)
    return None


def _unfinished(part: Path, plan: Mapping[str, str], start_over: bool) -> Unfinished:
    """The folders of this plan. Its digest is in their path, so a lost process of another plan cannot write there."""
    work = _work(part, plan)
    for other in part.glob("*/"):
        if other != work:
            found = _difference(other / "plan.json", plan)
            if not start_over and any(other.glob("notes/*")):
                raise Refusal(
                    f"A result must be finished as it was begun, but '{part}' holds the beginnings of {found}: "
                    "restore it, give another --out, or start over with --replace True."
                )
            say(f"Starting over: '{part}' holds the beginnings of {found}.")
            shutil.rmtree(other)
    unfinished = Unfinished(work / "result", work / "notes", work / RUN)
    unfinished.result.mkdir(parents=True, exist_ok=True)
    unfinished.notes.mkdir(exist_ok=True)
    with whole_file(work / "plan.json") as temporary:
        temporary.write_text(json.dumps(dict(plan), indent=1))
    return unfinished


def _part(path: Path) -> Path:
    return path.absolute().parent / f".{path.name}.part"


def _work(part: Path, plan: Mapping[str, str]) -> Path:
    return part / sha256_json(dict(plan))[:16]


def _difference(file: Path, plan: Mapping[str, str]) -> str:
    try:
        before = dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return "another result"
    names = [name for name in {**before, **plan} if before.get(name) != plan.get(name)]
    return f"one with another {', '.join(names)}"


def _into_place(temporary: Path, path: Path, old: Path) -> None:
    """Renames a finished folder onto `path`; what was there waits at `old`, and comes back if anything intervenes."""
    _sync_tree(temporary)
    try:
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(old, ignore_errors=True)


def remove_lost(path: Path) -> None:
    """Removes what `whole_folder` of processes that are no more left beside `path`, as one that was killed does."""
    for left in path.absolute().parent.glob(f".{glob.escape(path.name)}.*.part"):
        number = left.name.removesuffix(".part").rpartition(".")[2]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.absolute().parent / f".{path.name}.{os.getpid()}.part"


def sync(path: Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for inner in folder.rglob("*"):
        if inner.is_file():
            sync(inner)
