"""A host's cache of fetched shards: how much it holds, who waits for whom, and what death leaves behind."""

import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.refusal import Refusal
from shards.manifest import Manifest, Shard
from shards.remote.cache import HostCache
from shards.remote.fetch import PART, Missing
from shards.remote.seats import Claim, Resident, claims, deciding, room
from shards.schema import Feature
from tests.shards.servers import WebServer, web

SHARDS, WINDOW = 9, 3
READER = Path(__file__).with_name("cache_reader.py")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "set"
    folder.mkdir()
    shards = []
    for number in range(SHARDS):
        content = np.random.default_rng(number).bytes(300_000 + number)
        (folder / f"{number:06d}.tar").write_bytes(content)
        shards.append(Shard(f"{number:06d}.tar", 1, len(content), hashlib.sha256(content).hexdigest()))
    Manifest({"vggish": Feature("vggish", 128)}, tuple(shards), {}).write(folder)
    return folder


@pytest.fixture
def server(served: Path) -> Iterator[WebServer]:
    with web(served.parent) as running:
        yield running


Make = Callable[..., HostCache]


@pytest.fixture
def make(server: WebServer, served: Path, tmp_path: Path) -> Iterator[Make]:
    made = []

    def one(url: str = f"{server.url}/set", patience: float = 20.0, most: int = WINDOW + 1) -> HostCache:
        made.append(HostCache(url, Manifest.read(served), tmp_path / "cache", most, 3, 2, patience))
        return made[-1]

    yield one
    for cache in made:
        cache.close()


def read(cache: HostCache, number: int) -> None:
    shard = cache.manifest.shards[number]
    with cache.opened(number) as (descriptor, _):
        assert hashlib.sha256(os.pread(descriptor, shard.bytes + 1, 0)).hexdigest() == shard.sha256


def kept(folder: Path) -> set[str]:
    """The shards on the host, those being fetched included, at one moment."""
    if not folder.exists():
        return set()
    with deciding(folder):
        return {name.removesuffix(PART) for name in os.listdir(folder) if ".tar" in name}


def until(true: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


@contextmanager
def reader(cache: HostCache, served: Path, windows: list[list[int]], **plan: Any) -> Iterator[subprocess.Popen[str]]:
    about = {"url": cache.location, "set": str(served), "root": str(cache.folder.parent), "most": WINDOW + 1}
    process = subprocess.Popen(
        [sys.executable, str(READER), json.dumps({**about, "windows": windows, **plan})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # its group, since it may have left a child
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def sampled(folder: Path) -> Iterator[list[int]]:
    """How many shards were on the host, looked at all the time."""
    counts: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.002):
            counts.append(len(kept(folder)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


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


def test_readers_of_one_host_fetch_each_shard_once_and_keep_a_window_and_one(
    server: WebServer, served: Path, make: Make
) -> None:
    cache, server.slow = make(), 0.004
    windows = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    with (
        sampled(cache.folder) as counts,
        reader(cache, served, windows, wait=True) as one,
        reader(cache, served, windows, wait=True) as two,
        reader(cache, served, windows, wait=True) as three,
    ):
        processes = (one, two, three)
        assert [line(process) for process in processes] == ["ready"] * 3
        for process in processes:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        for process in processes:
            read_in_order = [line(process) for _ in range(SHARDS + 1)]
            assert [sorted(read_in_order[3 * k : 3 * k + 3]) for k in range(3)] == [
                ["0", "1", "2"],
                ["3", "4", "5"],
                ["6", "7", "8"],
            ]
    assert server.starts() == Counter({f"/set/{number:06d}.tar": 1 for number in range(SHARDS)})
    assert max(counts) <= WINDOW + 1


def test_processes_that_read_different_windows_still_keep_a_window_and_one(
    server: WebServer, served: Path, make: Make
) -> None:
    cache = make()
    with (
        sampled(cache.folder) as counts,
        reader(cache, served, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]) as one,
        reader(cache, served, [[8, 7, 6], [5, 4, 3], [2, 1, 0]]) as two,
    ):
        for process in (one, two):
            assert [line(process) for _ in range(SHARDS + 1)][-1] == "done"
    assert 1 <= max(counts) <= WINDOW + 1


def test_a_fetch_that_was_killed_is_taken_over(server: WebServer, served: Path, make: Make) -> None:
    cache, server.slow = make(), 0.2
    with reader(cache, served, [[0]]) as process:
        until((cache.folder / f"000000.tar{PART}").exists)
        process.kill()
        process.wait()
    server.slow = 0
    assert kept(cache.folder) == {"000000.tar"}
    assert not (cache.folder / "000000.tar").exists()
    read(cache, 0)
    assert not (cache.folder / f"000000.tar{PART}").exists()


def test_another_process_waits_for_a_fetch_under_way(server: WebServer, served: Path, make: Make) -> None:
    cache, server.slow = make(), 0.1
    with reader(cache, served, [[0]]) as process:
        until((cache.folder / f"000000.tar{PART}").exists)
        read(cache, 0)
        assert line(process) == "0"
    assert server.starts() == {"/set/000000.tar": 1}


@pytest.mark.parametrize("fork", [False, True])
def test_a_dead_readers_seat_does_not_block_even_if_a_child_of_it_lives(served: Path, make: Make, fork: bool) -> None:
    cache = make(patience=60)
    with reader(cache, served, [[0, 1, 2]], stay=True, fork=fork) as process:
        assert [line(process) for _ in range(4)][-1] == "done"
        cache.prepare([3, 4, 5], 1)
        with deciding(cache.folder):
            assert len(claims(cache.folder)) == 2
        process.kill()
        process.wait()
        began = time.monotonic()
        for number in (3, 4, 5):
            read(cache, number)
        assert time.monotonic() - began < 10
        with deciding(cache.folder):
            assert len(claims(cache.folder)) == 1


def test_what_a_slower_reader_needs_is_kept_for_it(server: WebServer, make: Make) -> None:
    slow, fast = make(), make()
    slow.prepare([0, 1, 2], 0)
    fast.prepare([3, 4, 5], 1)
    for number in (0, 1, 2):
        read(slow, number)
    read(fast, 3)  # in the one place that is over
    assert kept(slow.folder) == {f"{number:06d}.tar" for number in range(4)}
    waits = threading.Thread(target=read, args=(fast, 4))
    waits.start()
    time.sleep(0.5)
    assert waits.is_alive()
    slow.prepare([3, 4, 5], 1)
    waits.join(10)
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


def test_a_shard_that_is_there_is_not_fetched_again_by_a_later_run(server: WebServer, make: Make) -> None:
    first = make()
    read(first, 0)
    first.close()
    read(make(), 0)
    assert server.starts() == {"/set/000000.tar": 1}


def test_what_is_needed_comes_in_the_background(make: Make) -> None:
    cache = make()
    cache.prepare([2, 4, 6], 0)
    until(lambda: {path.name for path in cache.folder.glob("*.tar")} == {"000002.tar", "000004.tar", "000006.tar"})


def test_a_fault_in_the_background_is_told_when_the_shard_is_asked_for(server: WebServer, make: Make) -> None:
    server.altered["/set/000001.tar"] = b"x"
    cache = make()
    cache.prepare([0, 1], 0)
    read(cache, 0)
    with pytest.raises(Refusal, match=r"/set/000001\.tar' has 1 bytes instead of"):
        read(cache, 1)


def test_altered_and_missing_shards_are_refused_by_name(server: WebServer, served: Path, make: Make) -> None:
    content = bytearray((served / "000003.tar").read_bytes())
    content[5] ^= 1
    server.altered["/set/000003.tar"] = bytes(content)
    cache = make()
    with pytest.raises(Refusal, match=r"manifest's sha256 .*/set/000003\.tar' came twice"):
        read(cache, 3)
    with pytest.raises(Missing, match=r"/nothing/000003\.tar' is not"):
        read(make(url=f"{server.url}/nothing"), 3)
    assert not kept(cache.folder)


def test_a_kept_shard_of_another_size_is_fetched_anew(make: Make) -> None:
    cache = make()
    read(cache, 0)
    with (cache.folder / "000000.tar").open("ab") as file:
        file.write(b"x")
    read(cache, 0)


def test_other_urls_and_other_manifests_never_share(served: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(served)
    other = Manifest(manifest.features, manifest.shards, {"note": "another"})
    urls = ("http://host/set", "https://host/set", "http://host/sets", "http://host:81/set")
    folders = {HostCache(url, each, tmp_path, 2, 1, 1).folder for url in urls for each in (manifest, other)}
    assert len(folders) == 8


def test_a_cache_that_cannot_be_written_is_refused_with_its_folder(
    server: WebServer, served: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    below = HostCache(f"{server.url}/set", Manifest.read(served), tmp_path / "file", 2, 1, 1)
    with pytest.raises(Refusal, match=r"cache, but '.*file.*' gives 'Not a directory'.* name another cache folder"):
        read(below, 0)

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shards.remote.fetch.os.write", full)
    cache = make()
    with pytest.raises(Refusal, match="gives 'No space left on device': free some space there"):
        read(cache, 0)
    assert not kept(cache.folder)


def test_closing_gives_the_seat_back_and_calls_fetches_off(server: WebServer, make: Make) -> None:
    cache, server.slow = make(), 0.1
    cache.prepare([0, 1, 2], 0)
    until(lambda: bool(kept(cache.folder)))
    cache.close()
    assert not list((cache.folder / "seats").iterdir())
    until(lambda: not kept(cache.folder))


def test_a_cache_that_is_dropped_gives_its_seat_back(served: Path, server: WebServer, tmp_path: Path) -> None:
    cache = HostCache(f"{server.url}/set", Manifest.read(served), tmp_path, 2, 1, 1)
    read(cache, 0)
    seats = cache.folder / "seats"
    assert len(list(seats.iterdir())) == 1
    del cache
    assert not list(seats.iterdir())


def test_a_process_ends_at_once_though_a_fetch_is_under_way(server: WebServer, served: Path, make: Make) -> None:
    cache, server.slow = make(), 5
    script = (
        "import sys\nimport time\nfrom pathlib import Path\nfrom shards.remote.cache import HostCache\n"
        "from shards.manifest import Manifest\n"
        "cache = HostCache(sys.argv[1], Manifest.read(Path(sys.argv[2])), Path(sys.argv[3]), 4, 3, 2)\n"
        "cache.prepare([0, 1], 0)\n"
        "while not list(cache.folder.glob('*.part')): time.sleep(0.01)\n"
        "time.sleep(0.5)\n"  # now it waits for the body
        "print(time.time())\n"
    )
    words = [sys.executable, "-c", script, cache.location, str(served), str(cache.folder.parent)]
    done = subprocess.run(words, check=True, timeout=60, capture_output=True, text=True)
    assert time.time() - float(done.stdout) < 3
    assert not done.stderr
