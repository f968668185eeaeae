"""Room: how much a disk has left, for a sentence about one that is full."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.refusal import Refusal

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def full_disk_refused(out: Path, what: str, needed: str = "") -> Iterator[None]:
    """Turns an error of a disk without room into a Refusal; `what` is written to it, and `needed` says how much."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        much = f" ({needed})" if needed else ""
        raise Refusal(
            f"{what} must find room, but the disk of '{out}' is full: free some{much}, and the same command goes on."
        ) from None


def room(folder: Path, needed: int) -> str:
    """What something takes, and what the disk of a folder has left for it: "it takes 2,048 KiB, and 12 KiB are free".

    What half of it took must be deleted before.
    """
    return f"it takes {_kib(needed)}, and {_kib(shutil.disk_usage(folder).free)} are free"


def _kib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count >= 100 * 2**20 else f"{count / 2**10:,.0f} KiB"
