"""Fetching from a real web server and a real S3 API that fail in every way we know."""

import errno
import hashlib
import os
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import fsspec.config
import numpy as np
import pytest

from launch.refusal import Refusal
from shards.remote import fetch, store
from shards.remote.fetch import Denied, Missing, fetch_bytes, fetch_file
from tests.shards.servers import CUT, HANG_UP, SECRET, SHORT, BucketServer, CuttingProxy, WebServer, s3, web

SIZE = 9_000_001
"""Three blocks, the last of them short."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "000000.tar").write_bytes(np.random.default_rng(0).bytes(SIZE))
    (folder / "manifest.json").write_text("{}")
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture
def server(served: Path) -> Iterator[WebServer]:
    with web(served) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(served: Path) -> Iterator[tuple[CuttingProxy, dict[str, str]]]:
    with s3({"set/000000.tar": served / "000000.tar", "set/manifest.json": served / "manifest.json"}) as running:
        yield running


@pytest.fixture
def on_s3(bucket: tuple[CuttingProxy, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttingProxy]:
    for name, value in bucket[1].items():
        monkeypatch.setenv(name, value)
    store._made.cache_clear()
    yield bucket[0]
    store._made.cache_clear()


@pytest.fixture
def content(served: Path) -> bytes:
    return (served / "000000.tar").read_bytes()


def get(url: str, path: Path, content: bytes, tries: int = 5) -> bytes:
    fetch_file(url, path, len(content), hashlib.sha256(content).hexdigest(), tries)
    return path.read_bytes()


@pytest.mark.parametrize(
    "faults", [[], [CUT], [None, CUT, HANG_UP, CUT, CUT], [500, 503, 429, HANG_UP], [CUT, None, 500, None, HANG_UP]]
)
def test_a_fetched_shard_equals_the_served_one_though_connections_were_cut(
    server: WebServer, content: bytes, tmp_path: Path, faults: list[int | str | None]
) -> None:
    server.faults.extend(faults)
    assert get(f"{server.url}/000000.tar", tmp_path / "got", content) == content
    assert not server.faults
    assert [path.name for path in tmp_path.iterdir()] == ["got"]


def test_a_cut_costs_the_block_it_was_in(server: WebServer, content: bytes, tmp_path: Path) -> None:
    server.faults.extend([None, CUT])
    get(f"{server.url}/000000.tar", tmp_path / "got", content)
    assert [start // store.BLOCK for _, start, _ in server.gets] == [0, 1, 1, 2]
    assert all(end - start <= store.BLOCK for _, start, end in server.gets)


@pytest.mark.parametrize(
    ("budgets", "cuts"), [([], 0), ([None, 3_000_000, None, 100], 2), ([100, 100, None, 4_000_000, 0], 4)]
)
def test_a_shard_comes_whole_from_s3_though_connections_were_cut(
    on_s3: CuttingProxy, content: bytes, tmp_path: Path, budgets: list[int | None], cuts: int
) -> None:
    before = on_s3.cuts
    on_s3.budgets.extend(budgets)
    assert get("s3://corpus/set/000000.tar", tmp_path / "got", content) == content
    assert on_s3.cuts - before == cuts


def test_a_shard_comes_whole_from_gs_though_connections_were_cut(
    served: Path, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    with web(served, BucketServer) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        store._made.cache_clear()
        server.faults.extend([None, CUT, None, CUT])
        assert get("gs://corpus/000000.tar", tmp_path / "got", content) == content
        assert not server.faults
        with pytest.raises(Missing, match=r"must be there, but 'gs://corpus/000001\.tar' is not"):
            fetch_bytes("gs://corpus/000001.tar", tries=99, most=100)
    store._made.cache_clear()


def test_memory_is_bounded_by_blocks(server: WebServer, tmp_path: Path) -> None:
    content = bytes(12 * store.BLOCK)
    server.altered["/000000.tar"] = content
    digest = hashlib.sha256(content).hexdigest()
    tracemalloc.start()
    try:
        fetch_file(f"{server.url}/000000.tar", tmp_path / "got", len(content), digest, 1)
        # the server's own slices are in this process too: one block being sent, one arriving, one being joined
        assert tracemalloc.get_traced_memory()[1] < 5 * store.BLOCK
    finally:
        tracemalloc.stop()


def test_a_server_that_stays_down_is_refused_with_url_cause_and_tries(
    server: WebServer, content: bytes, tmp_path: Path
) -> None:
    server.every = 503
    with pytest.raises(Refusal, match=r"http://127.*000000.tar' failed 3 times, at last with HTTP status 503: look"):
        get(f"{server.url}/000000.tar", tmp_path / "got", content, tries=3)
    assert not list(tmp_path.iterdir())


def test_nobody_listening_is_refused_after_the_tries(content: bytes, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Refusal, match=r"failed 2 times, at last with Connection refused"):
        get(f"http://127.0.0.1:{port}/000000.tar", tmp_path / "got", content, tries=2)


@pytest.mark.parametrize(("status", "kind", "words"), [(404, Missing, "be there"), (403, Denied, "give credentials")])
def test_what_no_further_try_would_change_is_refused_at_once(
    server: WebServer, content: bytes, tmp_path: Path, status: int, kind: type[Refusal], words: str
) -> None:
    server.every = status
    with pytest.raises(kind, match=words):
        get(f"{server.url}/000000.tar", tmp_path / "got", content, tries=99)


def test_a_missing_shard_is_refused_at_once(
    server: WebServer, on_s3: CuttingProxy, content: bytes, tmp_path: Path
) -> None:
    for url in (f"{server.url}/000001.tar", "s3://corpus/set/000001.tar", "s3://nothing/set/000001.tar"):
        with pytest.raises(Missing, match=r"must be there, but '.*000001\.tar' is not"):
            get(url, tmp_path / "got", content, tries=99)
        with pytest.raises(Missing):
            fetch_bytes(url, tries=99, most=100)


def test_a_size_that_is_not_the_manifests_is_refused_before_anything_is_fetched(
    server: WebServer, content: bytes, tmp_path: Path
) -> None:
    with pytest.raises(Refusal, match=f"has {SIZE} bytes instead of {SIZE - 1}"):
        get(f"{server.url}/000000.tar", tmp_path / "got", content[:-1])
    assert not server.gets


def test_altered_content_is_fetched_once_more_and_then_refused_by_name(
    server: WebServer, content: bytes, tmp_path: Path
) -> None:
    server.altered["/000000.tar"] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(Refusal, match=r"manifest's sha256 .*'http://127.*/000000\.tar' came twice with another"):
        get(f"{server.url}/000000.tar", tmp_path / "got", content)
    assert server.starts() == {"/000000.tar": 2}
    assert not list(tmp_path.iterdir())


def test_a_server_that_ignores_ranges_is_refused_before_the_file_is_in_memory(
    server: WebServer, content: bytes, tmp_path: Path
) -> None:
    server.ranges = False
    with pytest.raises(Refusal, match="ignores Range: serve the shards by one that knows range requests"):
        get(f"{server.url}/000000.tar", tmp_path / "got", content)


def test_small_files_come_whole_and_large_ones_are_refused(server: WebServer, on_s3: CuttingProxy) -> None:
    server.faults.append(SHORT)
    for url in (server.url, "s3://corpus/set"):
        assert fetch_bytes(f"{url}/manifest.json", 2, most=2) == b"{}"
        with pytest.raises(Refusal, match=f"at most 1000 bytes, but .* has {SIZE}"):
            fetch_bytes(f"{url}/000000.tar", 1, most=1000)
    assert fetch_bytes(f"{server.url}/empty", 1, most=2) == b""


def test_a_full_disk_is_told_and_leaves_nothing(
    server: WebServer, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shards.remote.fetch.os.write", full)
    with pytest.raises(OSError, match="No space left"):
        get(f"{server.url}/000000.tar", tmp_path / "got", content)
    assert not list(tmp_path.iterdir())


def test_missing_credentials_are_refused_with_where_they_come_from(
    on_s3: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    with pytest.raises(Denied, match="give credentials by the environment"):
        fetch_bytes("s3://corpus/set/manifest.json", 99, most=100)


def test_the_text_of_a_librarys_error_is_never_repeated() -> None:
    for error in (ValueError(SECRET), OSError(SECRET), FileNotFoundError(SECRET), PermissionError(SECRET)):
        told = f"{store.cause(error)} {store.final(error, 'https://host/set')}"
        assert SECRET not in told
    chained = FileNotFoundError(SECRET)
    chained.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, SECRET)
    assert store.final(chained, "https://host/set") is None  # fsspec's word for a server that cannot be reached
    assert store.cause(chained) == "Connection refused"


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there(*words: object, **settings: object) -> None:
        raise ImportError

    store._made.cache_clear()
    monkeypatch.setattr("fsspec.filesystem", not_there)
    with pytest.raises(Refusal, match="pip install 'gcsfs'"):
        fetch_bytes("gs://bucket/manifest.json", 1, most=100)


def test_a_forked_process_fetches_with_connections_of_its_own(server: WebServer) -> None:
    script = (
        "import os, sys\n"
        "from shards.remote.fetch import fetch_bytes\n"
        "assert fetch_bytes(sys.argv[1], 1, 9) == b'{}'\n"
        "child = os.fork()\n"
        "assert fetch_bytes(sys.argv[1], 1, 9) == b'{}'\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"{server.url}/manifest.json"], check=False, timeout=60, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr
    assert len(server.gets) == 3


def test_pauses_grow_and_have_a_limit(monkeypatch: pytest.MonkeyPatch, server: WebServer) -> None:
    slept: list[float] = []
    monkeypatch.setattr("shards.remote.fetch.time.sleep", slept.append)
    monkeypatch.setattr("shards.remote.fetch.random.uniform", lambda low, high: 1.0)
    server.every = 500
    with pytest.raises(Refusal, match="failed 10 times"):
        fetch_bytes(f"{server.url}/manifest.json", 10, most=100)
    assert slept == [min(fetch.PAUSE * 2**number, fetch.LONGEST) for number in range(9)]
