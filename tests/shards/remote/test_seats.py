"""Who waits for whom: the rule by which places are given, and seats of readers that live, wait, or are dead."""

import errno
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.remote.fetch import fetch_into
from shards.remote.seats import Claim, Resident, Seat, claims, deciding, room
from tests.shards.remote.caches import PATIENT, SHARDS, WINDOW, Make, kept, line, read, reader, start, until
from tests.shards.servers import WebServer

NUMBERS = st.integers(0, SHARDS - 1)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[int, list[Resident], list[Claim], bool]:
    readers = [
        Claim(
            draw(st.sampled_from([0.0, 1.0, 2.0, math.inf])),
            str(name),
            frozenset(draw(st.lists(NUMBERS, max_size=WINDOW))),
            WINDOW,
            draw(st.sampled_from([0.0, 99.0])),
        )
        for name in range(draw(st.integers(1, 4)))
    ]
    numbers = draw(st.lists(NUMBERS, unique=True, max_size=WINDOW + 1))
    residents = [Resident(number, draw(st.floats(0, 1)), draw(st.booleans())) for number in numbers]
    number = draw(NUMBERS.filter(lambda number: number not in numbers))
    return number, residents, readers, draw(st.booleans())


@settings(max_examples=400, deadline=None)
@given(scenes())
def test_a_place_is_only_given_so_that_the_leader_can_always_go_on(
    scene: tuple[int, list[Resident], list[Claim], bool],
) -> None:
    number, residents, readers, patient = scene
    busy = {each.number for each in residents if each.busy}
    active = [each for each in readers if each.needs and each.idle < 20]
    leader = min(active, key=lambda each: (each.position, each.name)).needs if active else frozenset()
    needed = {each for one in active for each in one.needs}
    victims = room(number, residents, readers, 20, patient)
    if victims is None:  # waits: only for a fetch, or out of patience with others
        outside = {each.number for each in residents} - leader
        assert outside & busy or (number not in leader and not patient and outside & needed)
        return
    after = {each.number for each in residents} - set(victims) | {number}
    assert len(after) <= WINDOW + 1
    assert not set(victims) & (busy | leader)
    assert number in leader or patient or not set(victims) & needed
    if number not in leader:
        assert len(after | leader) <= WINDOW + 1


@pytest.mark.parametrize("fork", [False, True])
def test_a_dead_readers_seat_does_not_block_even_if_a_child_of_it_lives(served: Path, make: Make, fork: bool) -> None:
    cache = make(patience=PATIENT)
    with reader(cache, served, [[0, 1, 2]], stay=True, fork=fork) as process:
        assert [line(process) for _ in range(4)][-1] == "done"
        cache.prepare([3, 4, 5], 1)
        with deciding(cache.folder):
            assert len(claims(cache.folder)) == 2
        process.kill()
        process.wait()
        for number in (3, 4, 5):
            reads = start(read, cache, number)
            reads.join(60)
            assert not reads.is_alive()
        with deciding(cache.folder):
            assert len(claims(cache.folder)) == 1


def test_what_a_slower_reader_needs_is_kept_for_it(server: WebServer, make: Make) -> None:
    slow, fast = make(patience=PATIENT), make(patience=PATIENT)
    slow.prepare([0, 1, 2], 0)
    fast.prepare([3, 4, 5], 1)
    for number in (0, 1, 2):
        read(slow, number)
    read(fast, 3)  # in the one place that is over
    assert kept(slow.folder) == {f"{number:06d}.tar" for number in range(4)}
    waits = start(read, fast, 4)
    time.sleep(0.5)
    assert waits.is_alive()
    slow.prepare([3, 4, 5], 1)
    waits.join(60)
    assert not waits.is_alive()
    for number in (0, 1, 2):
        assert server.starts()[f"/set/{number:06d}.tar"] == 1


def test_readers_in_lockstep_a_window_apart_never_wait_for_ever(make: Make) -> None:
    behind, ahead = make(patience=0.3), make(patience=0.3)
    behind.prepare([0, 1, 2], 0)
    ahead.prepare([3, 4, 5], 1)
    for step in range(6):  # as ranks that meet in a collective after every read
        read(behind, step % 3)
        read(ahead, 3 + step % 3)


def test_a_reader_that_says_nothing_gets_its_shards_beside_one_that_leads(make: Make) -> None:
    leader, guest = make(patience=0.3), make(patience=0.3)
    leader.prepare([0, 1, 2], 0)
    for number in range(SHARDS):
        read(guest, number)
        read(leader, number % 3)


def test_an_asking_reader_that_fetches_does_not_look_idle(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, looked = make(), list[float]()

    def fetch(url: str, part: int, size: int, sha256: str, tries: int, stopped: Callable[[], bool]) -> None:
        (seat,) = (cache.folder / "seats").iterdir()
        os.utime(seat, (0, 0))
        assert not stopped()
        looked.append(seat.stat().st_mtime)
        fetch_into(url, part, size, sha256, tries, stopped)

    monkeypatch.setattr("shards.remote.share.fetch_into", fetch)
    read(cache, 0)
    assert looked[0] > 0


def test_a_reader_that_is_long_at_a_shard_does_not_look_idle(make: Make) -> None:
    cache = make(patience=0.4)
    with cache.opened(0):
        (seat,) = (cache.folder / "seats").iterdir()
        for _ in range(2):
            os.utime(seat, (0, 0))
            until(lambda: seat.stat().st_mtime > 0)


def test_a_seat_keeps_what_it_said_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    seat = Seat(tmp_path, WINDOW)
    seat.publish([1, 2], 5)
    monkeypatch.setattr("shards.remote.seats.os.pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        seat.publish([3], 6)
    with pytest.raises(OSError, match="No space left"):
        Seat(tmp_path, WINDOW)
    with deciding(tmp_path):
        (claim,) = claims(tmp_path)
    assert (claim.position, claim.needs, claim.window) == (5, {1, 2}, WINDOW)


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"position": 0, "nee', "[1]", '{"position": 0, "needs": 1, "window": 3}'],
)
def test_a_seat_that_cannot_be_read_needs_nothing_and_stops_nobody(make: Make, content: str) -> None:
    broken, cache = make(), make()
    broken.prepare([0, 1, 2], 0)
    (seat,) = (broken.folder / "seats").iterdir()
    seat.write_text(content)
    for number in range(SHARDS):
        read(cache, number)
    with deciding(cache.folder):
        assert [claim.needs for claim in claims(cache.folder) if claim.name == seat.name] == [frozenset()]
