"""What a cache keeps: nothing of sets that nobody reads, and no copy that was altered."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shards.manifest import Manifest
from shards.remote import kept as kept_shards
from shards.remote.cache import HostCache
from shards.remote.fetch import PART
from shards.remote.kept import residents
from shards.remote.seats import deciding, hold, release
from shards.tars.index import index_name
from tests.shards.remote.caches import Make, kept, read
from tests.shards.servers import WebServer


def another(served: Path, server: WebServer, root: Path, note: str) -> HostCache:
    """A cache of the same shards as a set with another digest."""
    manifest = Manifest.read(served)
    return HostCache(f"{server.url}/set", Manifest(manifest.features, manifest.shards, {"note": note}), root, 4, 3, 2)


def alter(path: Path) -> None:
    """Alters a byte, and puts the time of change back."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_sets_that_nobody_reads_make_way_for_others_and_sets_in_use_stay(
    server: WebServer, served: Path, tmp_path: Path
) -> None:
    used, unused = (another(served, server, tmp_path, note) for note in ("used", "unused"))
    for cache in (used, unused):
        read(cache, 0)
        read(cache, 1)
    left = unused.folder
    (left / index_name("000005.tar")).write_text("an index")
    (left / f"000005.tar{PART}").write_text("half a shard of a dead process")
    (left / "letter.txt").write_text("somebody else's")
    foreign = tmp_path / ("0" * 64)
    for folder in (tmp_path / "corpus", foreign):
        folder.mkdir()
        (folder / "000000.tar").write_text("no cache's")
    del unused, cache
    assert kept(left) == {"000000.tar", "000001.tar", "000005.tar"}
    new = another(served, server, tmp_path, "new")
    read(new, 2)
    assert sorted(path.name for path in left.iterdir()) == ["letter.txt", "lock", "seats"]
    assert kept(used.folder) == {"000000.tar", "000001.tar"}
    assert kept(new.folder) == {"000002.tar"}
    assert (tmp_path / "corpus" / "000000.tar").exists()
    assert (foreign / "000000.tar").exists()


def test_a_set_that_made_way_is_fetched_again(server: WebServer, served: Path, tmp_path: Path) -> None:
    for note in ("one", "two", "one"):
        cache = another(served, server, tmp_path, note)
        read(cache, 0)
        del cache
    assert server.starts() == {"/set/000000.tar": 3}


def test_a_copy_that_was_altered_between_runs_is_fetched_anew_though_its_time_of_change_says_nothing(
    server: WebServer, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make()
    read(first, 0)
    path = first.folder / "000000.tar"
    del first
    alter(path)
    read(make(), 0)
    assert server.starts() == {"/set/000000.tar": 2}
    assert "Fetching '000000.tar' anew" in capsys.readouterr().out


@pytest.mark.parametrize("same", [False, True])
def test_a_copy_that_is_altered_during_a_run_is_fetched_anew(server: WebServer, make: Make, same: bool) -> None:
    first = make()
    for _ in range(2):  # fetched, then found
        read(first, 0)
    path = first.folder / "000000.tar"
    alter(path)
    os.utime(path)
    read(first if same else make(), 0)
    assert server.starts() == {"/set/000000.tar": 2}


def test_a_kept_copy_is_checked_once_a_run(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = list[int]()
    pread: Callable[[int, int, int], bytes] = os.pread

    def counting(descriptor: int, size: int, start: int) -> bytes:
        checked.append(start)
        return pread(descriptor, size, start)

    def reads(cache: HostCache) -> int:
        """How often a shard's bytes were read to check them, as it was opened twice."""
        checked.clear()
        for _ in range(2):
            with cache.opened(0):
                pass
        return len(checked)

    monkeypatch.setattr(kept_shards.os, "pread", counting)
    first, second = make(), make()
    assert [reads(first), reads(second)] == [0, 0]
    del first, second
    first, second = make(), make()
    assert [reads(first), reads(second)] == [1, 0]


def test_a_fetch_that_fails_beside_a_look_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / f"000000.tar{PART}"
    part.write_text("")

    def late(path: Path) -> int | None:
        descriptor = hold(path)
        path.unlink()  # by the process that had it until now
        return descriptor

    monkeypatch.setattr(kept_shards, "hold", late)
    with deciding(tmp_path):
        assert not list(residents(tmp_path, {"000000.tar": 0}))


def test_a_fetch_under_way_is_never_cleared_away(server: WebServer, served: Path, tmp_path: Path) -> None:
    unused = another(served, server, tmp_path, "unused")
    read(unused, 0)
    part = unused.folder / f"000001.tar{PART}"
    del unused
    descriptor = hold(part)
    assert descriptor is not None
    read(another(served, server, tmp_path, "new"), 0)
    assert part.exists()
    release(descriptor)
