"""DeepSpeed's compiled operations: which are built, and locks that a killed compiler left, on which every start waits.

Whoever builds an operation makes a file `lock` in its folder, keeps it open, and removes it at the end; others wait
until it is gone, without end. A lock is stale only when nothing speaks for a builder: no process here has it open, and
nothing in its folder has changed for a while. Other hosts and containers, whose processes cannot be seen from here,
may build in a folder that is shared, so on a network's file system the while is longer.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from launch.doctor.finding import Finding, doubtful, failed, fine

QUIET = 600.0
"""Seconds without a change in a folder after which nobody builds in it."""
QUIET_FAR = 3600.0
"""The same where other hosts may build."""
FAR = ("nfs", "nfs4", "lustre", "ceph", "gpfs", "beegfs", "cifs", "smb3", "9p", "fuse", "afs", "glusterfs", "wekafs")
"""File systems that other machines may write to."""


@dataclass(frozen=True)
class Lock:
    """A lock, and what speaks for its builder."""

    path: Path
    holders: tuple[int, ...]
    """Processes that have it open."""
    quiet: float
    """Seconds since anything in its folder changed."""
    far: bool
    """Whether other hosts may have made it."""

    @property
    def stale(self) -> bool:
        """Whether its builder is gone for certain."""
        return not self.holders and self.quiet > (QUIET_FAR if self.far else QUIET)


def check(clear: bool = False) -> list[Finding]:
    """Which operations are built, and the locks there are; `clear` removes those that are stale."""
    folder = extensions()
    if not folder.is_dir():
        return [fine("compiled ops", f"none in {folder}, and none needed")]
    locks = [look(path) for path in sorted(folder.glob("**/lock"))]
    built = sorted({each.stem for each in folder.glob("**/*.so")})
    findings = [finding for lock in locks for finding in _told(lock, clear)]
    return findings or [fine("compiled ops", f"{', '.join(built) or 'none'} in {folder}, no lock")]


def extensions() -> Path:
    """The folder in which torch builds operations for this python and this torch."""
    if chosen := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch_extensions"
    cuda, hip = torch.version.cuda, torch.version.hip
    kind = f"rocm{hip.replace('.', '')}" if hip else f"cu{cuda.replace('.', '')}" if cuda else "cpu"
    return cache / f"py{sys.version_info.major}{sys.version_info.minor}{sys.abiflags}_{kind}"


def look(path: Path) -> Lock:
    """A lock, and what speaks for its builder."""
    changes = [each.lstat().st_mtime for each in (path.parent, *path.parent.iterdir())]
    far = _file_system(path).split(".")[0] in FAR
    return Lock(path, tuple(_holders(path)), time.time() - max(changes), far)


def _told(lock: Lock, clear: bool) -> list[Finding]:
    since = f"quiet for {_minutes(lock.quiet)}"
    if lock.holders:
        found = f"process {', '.join(map(str, lock.holders))} builds in {lock.path.parent}, {since}"
        return [doubtful("compiled ops", found, "wait until it is done; other starts wait for it, too")]
    if not lock.stale:
        wait = _minutes((QUIET_FAR if lock.far else QUIET) - lock.quiet)
        remedy = f"another host or container may be building: if none is, it counts as stale in {wait}"
        return [doubtful("compiled ops", f"no process here holds {lock.path}, {since}", remedy)]
    if clear:
        lock.path.unlink(missing_ok=True)
        return [fine("compiled ops", f"removed the stale lock {lock.path}, {since}")]
    remedy = "every start that builds this operation waits for it without end: --clear_locks removes it"
    return [failed("compiled ops", f"stale lock {lock.path}, {since}: its builder was killed", remedy)]


def _holders(path: Path) -> Iterator[int]:
    """The processes that have a file open, as far as this one may see."""
    there = path.stat()
    for process in Path("/proc").glob("[0-9]*"):
        if any((each.st_dev, each.st_ino) == (there.st_dev, there.st_ino) for each in _opened(process)):
            yield int(process.name)


def _opened(process: Path) -> Iterator[os.stat_result]:
    """What a process has open; nothing of one that is another user's, or has ended meanwhile."""
    with suppress(OSError):
        for each in (process / "fd").iterdir():
            with suppress(OSError):
                yield os.stat(each)


def _file_system(path: Path) -> str:
    """The kind of file system that a path is on."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    kinds = {words[1].replace("\\040", " "): words[2] for words in mounts}
    real = path.resolve()
    return next((kinds[str(each)] for each in (real, *real.parents) if str(each) in kinds), "")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{max(seconds, 0):.0f} s"
