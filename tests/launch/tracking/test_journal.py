"""A journal gives back what it was given, in its order, whatever ended its process, and on a full disk."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch.tracking import journal as module
from launch.tracking.held import Busy
from launch.tracking.journal import Journal
from launch.tracking.shelf import journals, parked, stores
from tests.disks import fill

Open = Callable[..., Journal]
SmallDisk = Callable[[int], Path]


def points(*steps: int) -> list[dict[str, object]]:
    return [{"do": "metrics", "time": 1, "step": step, "values": {"a": 0.5, "b": float("inf")}} for step in steps]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a journal, and closes it in the end."""
    held: list[Journal] = []

    def open_one(root: Path = tmp_path) -> Journal:
        held.append(Journal(root, "run"))
        return held[-1]

    yield open_one
    for each in held:
        if not each.closed:
            each.close(delete=False)


def keep(journal: Journal, *steps: int) -> None:
    for each in points(*steps):
        journal.append(each)


def test_operations_come_back_in_their_order_until_they_are_done(opened: Open) -> None:
    journal = opened()
    keep(journal, *range(5))
    assert journal.head() == points(*range(5))
    journal.done(2)
    keep(journal, 5)
    assert (journal.head(), journal.left, journal.empty) == (points(2, 3, 4, 5), 4, False)
    journal.done(4)
    assert (journal.head(), journal.left, journal.empty) == ([], 0, True)


def test_the_head_is_bounded_in_lines_and_in_bytes_but_never_empty(opened: Open) -> None:
    journal = opened()
    keep(journal, *range(5))
    assert journal.head(most=2) == points(0, 1)
    assert journal.head(size=1) == points(0)


def test_a_later_process_goes_on_after_what_is_done_and_lacks_nothing(opened: Open) -> None:
    journal = opened()
    journal.begin({"do": "begin", "time": 5, "store": "s", "host": "h"})
    keep(journal, 0, 1)
    journal.head()
    journal.done(2)
    journal.became("target")
    journal.close(delete=False)
    again = opened()
    assert again.head() == points(1)
    assert (again.target, again.store, again.host, again.ended) == ("target", "s", "h", False)


def test_without_the_note_of_what_is_done_everything_comes_again(opened: Open) -> None:
    journal = opened()
    keep(journal, 0, 1)
    journal.head()
    journal.done(2)
    journal.close(delete=False)
    journal.path.with_suffix(".sent").write_text('{"bytes": 1')
    assert opened().head() == points(0, 1)


def test_half_a_line_at_the_end_is_cut_off_and_the_next_is_whole(opened: Open) -> None:
    journal = opened()
    keep(journal, 0)
    journal.close(delete=False)
    with journal.path.open("a") as file:
        file.write('{"do":"met')
    again = opened()
    keep(again, 1)
    assert again.head() == points(0, 1)


def test_a_line_that_cannot_be_read_says_so_and_holds_up_no_other(opened: Open) -> None:
    journal = opened()
    keep(journal, 0)
    journal.close(delete=False)
    with journal.path.open("ab") as file:
        file.write(b"\xff\n")
    again = opened()
    keep(again, 1)
    assert again.head() == [*points(0), {"do": "unreadable"}, *points(1)]


def test_one_process_has_a_journal_at_a_time_and_a_forked_one_does_not_keep_it(opened: Open, tmp_path: Path) -> None:
    journal = opened()
    with pytest.raises(Busy):
        opened()
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        theirs.send(b"here")
        theirs.recv(1)  # it lives on until the parent has looked
        os._exit(0)
    ours.recv(4)
    journal.close(delete=False)
    assert opened().path.parent == tmp_path / "journal"
    ours.send(b".")
    assert os.waitpid(child, 0)[1] == 0


def test_a_journal_whose_run_ended_says_so_until_another_start(opened: Open) -> None:
    journal = opened()
    journal.append({"do": "end", "status": "FAILED", "time": 1})
    journal.close(delete=False)
    again = opened()
    assert again.ended
    again.begin({"do": "begin", "time": 5, "store": "s", "host": "h"})
    again.close(delete=False)
    assert not opened().ended


def test_a_long_journal_that_is_done_takes_no_room(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPACT", 500)
    journal = opened()
    journal.begin({"do": "begin", "time": 5, "store": "s", "host": "h"})
    journal.became("target")
    keep(journal, *range(20))
    journal.head()
    journal.done(20)
    assert journal.path.stat().st_size > 500
    journal.head()
    journal.done(1)
    assert journal.path.stat().st_size == 0
    keep(journal, 20)
    journal.close(delete=False)
    again = opened()
    assert (again.head(), again.target, again.store, again.host) == (points(20), "target", "s", "h")


def test_a_deleted_journal_leaves_nothing_not_even_copies_of_files(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("old")
    journal = opened()
    copy = journal.files.keep(tmp_path / "folder")
    (tmp_path / "folder" / "file").write_text("new")
    assert (copy.name, (copy / "file").read_text()) == ("folder", "old")
    journal.close(delete=True)
    assert list((tmp_path / "journal").iterdir()) == []


def test_the_shelf_knows_which_runs_are_there_and_for_which_stores(tmp_path: Path) -> None:
    for name, time, store in (("b", 1, "one"), ("a", 2, "two"), ("c", 3, "one")):
        journal = Journal(tmp_path, name)
        journal.begin({"do": "begin", "time": time, "store": store, "host": "h"})
        journal.close(delete=False)
    assert journals(tmp_path) == ["b", "a", "c"]
    assert stores(tmp_path) == ["two", "one"]
    assert parked(tmp_path, "a")
    assert not parked(tmp_path, "d")


def test_on_a_full_disk_operations_wait_in_memory_and_beyond_a_bound_they_are_counted(
    opened: Open, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "BOUND", 40)
    disk = small_disk(256)
    journal = opened(disk)
    keep(journal, 0, 1)
    full = fill(disk)
    keep(journal, *range(2, 200))  # a page of the disk has room for the first of them
    kept = journal.left
    assert journal.dropped == 2 * (200 - kept), "two points a step"
    journal.append({"do": "end", "status": "FINISHED", "time": 1}, always=True)
    assert journal.unwritten == 41
    said = capsys.readouterr().out
    assert said.count("cannot be written") == 1
    assert f"The journal '{journal.path}' cannot be written (No space left on device" in said
    full.unlink()
    journal.head()
    journal.done(0)
    keep(journal, 200)
    assert journal.unwritten == 0
    journal.close(delete=False)
    assert opened(disk).head() == [
        *points(*range(kept)),
        {"do": "end", "status": "FINISHED", "time": 1},
        *points(200),
    ]


def test_what_waits_in_memory_is_sent_from_there(opened: Open, small_disk: SmallDisk) -> None:
    disk = small_disk(256)
    journal = opened(disk)
    fill(disk)
    keep(journal, *range(200))
    seen = []
    while not journal.empty:
        head = journal.head(most=30)
        seen += head
        keep(journal, 200) if len(seen) == 30 else None
        journal.done(len(head))
    assert seen == points(*range(201))
