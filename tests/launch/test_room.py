"""A disk without room is a sentence; another fault of it stays what it is."""

import errno
from pathlib import Path

import pytest

from launch.refusal import Refusal
from launch.room import full_disk_refused


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_is_a_sentence(code: int) -> None:
    said = r"^Names must find room, but the disk of 'out' is full: free some \(a lot\), and the same command goes on\."
    with pytest.raises(Refusal, match=said), full_disk_refused(Path("out"), "Names", "a lot"):
        raise OSError(code, "what the system says")


def test_another_fault_of_a_disk_stays_what_it_is() -> None:
    with pytest.raises(OSError, match="read-only"), full_disk_refused(Path("out"), "Names"):
        raise OSError(errno.EROFS, "read-only")
