"""A host's cache of fetched shards: how much it holds, what it fetches, and what death leaves behind."""

import errno
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from launch.refusal import Refusal
from shards.manifest import Manifest
from shards.remote.cache import HostCache
from shards.remote.fetch import PART, Missing
from tests.shards.remote.caches import SHARDS, WINDOW, Make, kept, line, read, reader, sampled, until
from tests.shards.servers import WebServer


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


def test_a_shard_that_is_there_is_not_fetched_again_by_a_later_run(server: WebServer, make: Make) -> None:
    first = make()
    read(first, 0)
    del first
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


def test_other_urls_and_other_manifests_never_share(served: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(served)
    other = Manifest(manifest.features, manifest.shards, {"note": "another"})
    urls = ("http://host/set", "https://host/set", "http://host/sets", "http://host:81/set")
    folders = {HostCache(url, each, tmp_path, 2, 1, 1).folder for url in urls for each in (manifest, other)}
    assert len(folders) == 8


def test_a_cache_below_a_file_is_refused_with_its_folder(server: WebServer, served: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = HostCache(f"{server.url}/set", Manifest.read(served), tmp_path / "file", 2, 1, 1)
    with pytest.raises(Refusal, match=r"cache '.*file.*' gives '(Not a directory|File exists)': make it a folder"):
        read(below, 0)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space there"),
        (errno.EACCES, "make it a folder that can be written to"),
        (errno.EMFILE, "allow more open files"),
        (errno.ENOENT, "leave the cache alone"),
        (errno.EIO, "look after that disk"),
    ],
)
def test_what_the_system_says_is_told_with_a_remedy_of_its_own(
    make: Make, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def fails(descriptor: int, data: memoryview) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("shards.remote.fetch.os.write", fails)
    cache = make()
    with pytest.raises(Refusal, match=f"cache '.*' gives '{os.strerror(number)}': {remedy}"):
        read(cache, 0)
    assert not kept(cache.folder)


def test_a_wide_window_is_not_open_all_at_once(make: Make) -> None:
    assert make(most=121).at_once == 64
    assert make(most=17).at_once == 16


def test_a_cache_that_is_dropped_gives_its_seat_back_and_calls_its_fetches_off(
    server: WebServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shards.remote.fetch.BLOCK", 1 << 16)
    cache, server.slow = make(), 0.1
    folder = cache.folder
    cache.prepare([0, 1, 2], 0)
    until(lambda: bool(kept(folder)))
    assert len(list((folder / "seats").iterdir())) == 1
    del cache
    assert not list((folder / "seats").iterdir())
    until(lambda: not kept(folder))


def test_a_process_ends_at_once_though_a_fetch_is_under_way(server: WebServer, served: Path, make: Make) -> None:
    cache, server.slow = make(), 600  # a body that nobody waits for: the process would not end in time
    script = (
        "import sys\nimport time\nfrom pathlib import Path\nfrom shards.remote.cache import HostCache\n"
        "from shards.manifest import Manifest\n"
        "cache = HostCache(sys.argv[1], Manifest.read(Path(sys.argv[2])), Path(sys.argv[3]), 4, 3, 2)\n"
        "cache.prepare([0, 1], 0)\n"
        "while not list(cache.folder.glob('*.part')): time.sleep(0.01)\n"
        "time.sleep(0.5)\n"  # now it waits for the body
    )
    words = [sys.executable, "-c", script, cache.location, str(served), str(cache.folder.parent)]
    done = subprocess.run(words, check=True, timeout=60, capture_output=True, text=True)
    assert not done.stderr
    assert list(cache.folder.glob("*.part"))  # of a fetch that had not ended
