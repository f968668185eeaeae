"""Storage: room on the disks that a run writes to, shared memory, and how many files a process may open."""

import os
import resource
import tempfile
from pathlib import Path

from launch.doctor.finding import Finding, doubtful, failed, fine
from launch.room import FULL

GIB = 2**30
SHARED = Path("/dev/shm")


def check(places: dict[str, Path]) -> list[Finding]:
    """The disks of some folders, by what they are for, shared memory, and the limit of open files."""
    findings = [disk(f"disk of {what}", folder) for what, folder in places.items()]
    return [*findings, disk("disk of /tmp", Path(tempfile.gettempdir())), shared(), files()]


def disk(name: str, folder: Path, little: float = 1 * GIB, enough: float = 10 * GIB) -> Finding:
    """Whether a folder, or the one in which it would be made, can be written to and has room (bytes)."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    room = os.statvfs(there)
    free, of = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    found = f"{_size(free)} free of {_size(of)} in {there}"
    if not _writable(there):
        return failed(name, f"{there} cannot be written to", "mend it (mount, chmod), or name another folder")
    if free < little or (room.f_files and not room.f_favail):
        short = found if free < little else f"no file more can be made in {there}"
        return failed(name, short, "make room: checkpoints and journals are lost when it is full")
    if free < enough:
        return doubtful(name, found, "make room before a long run: checkpoints, matrices and caches grow")
    return fine(name, found)


def shared(folder: Path = SHARED, little: float = 128 * 2**20, enough: float = 1 * GIB) -> Finding:
    """Whether shared memory has room for what ranks and readers exchange (bytes)."""
    remedy = "give it more: mount -o remount,size=16G /dev/shm, docker run --shm-size=16g, or an emptyDir of Memory"
    if not folder.is_dir():
        return failed("shared memory", f"{folder} does not exist", f"mount it: mount -t tmpfs shm {folder}")
    room = os.statvfs(folder)
    free, of = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    found = f"{_size(free)} free of {_size(of)}"
    if not _writable(folder):
        return failed("shared memory", f"{folder} cannot be written to", "let every user write to it (chmod 1777)")
    if free < little:
        return failed("shared memory", found, remedy)
    return doubtful("shared memory", found, remedy) if free < enough else fine("shared memory", found)


def files(little: int = 512, enough: int = 4096) -> Finding:
    """How many files a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_limit(soft)} a process (at most {_limit(hard)})"
    remedy = "raise it: ulimit -n 65536 before the start, or nofile in /etc/security/limits.conf"
    if soft == resource.RLIM_INFINITY or soft >= enough:
        return fine("open files", found)
    return failed("open files", found, remedy) if soft < little else doubtful("open files", found, remedy)


def _writable(folder: Path) -> bool:
    """Whether a file can be made there, which rights alone do not tell of a read-only mount."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        return error.errno in FULL


def _size(size: float) -> str:
    return f"{size / GIB:,.0f} GiB" if size >= 10 * GIB else f"{size / GIB:.1f} GiB" if size >= GIB else _small(size)


def _small(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"


def _limit(value: int) -> str:
    return "any number" if value == resource.RLIM_INFINITY else f"{value:,}"
