"""Small disks, to be filled."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest


def mount(place: Path, kib: int) -> None:
    """Mounts a file system of so many KiB, or skips the test that asks for it where that is not allowed."""
    if os.getuid() != 0:
        pytest.skip("a small disk can be mounted by root alone")
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"no small disk can be mounted here: {ended.stderr.strip()}")


def unmount(place: Path) -> None:
    """Takes it away again, also while a file on it is open."""
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """The file that takes all the room that was left."""
    file = disk / "full"
    with file.open("wb", buffering=0) as out, suppress(OSError):
        while out.write(b"x" * 512):
            pass
    return file
