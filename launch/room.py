"""Room: how much a disk has left, for a sentence about one that is full."""

import shutil
from pathlib import Path


def room(folder: Path, needed: int) -> str:
    """What something takes, and what the disk of a folder has left for it: "it takes 2,048 KiB, and 12 KiB are free".

    What half of it took must be deleted before.
    """
    return f"it takes {_kib(needed)}, and {_kib(shutil.disk_usage(folder).free)} are free"


def _kib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count >= 100 * 2**20 else f"{count / 2**10:,.0f} KiB"
