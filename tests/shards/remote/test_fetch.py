"""Fetching from a real web server and a real S3 API that fail in every way: what comes is what was asked for."""

import errno
import hashlib
import os
import socket
import tracemalloc
from pathlib import Path

import fsspec.config
import pytest

from launch.refusal import Refusal
from shards.remote import fetch, store
from shards.remote.fetch import Missing, fetch_bytes
from tests.shards.remote.conftest import SIZE
from tests.shards.servers import CUT, HANG_UP, SHORT, BucketServer, CuttingProxy, WebServer, fetch_file, web


def get(url: str, path: Path, content: bytes, tries: int = 5) -> bytes:
    fetch_file(url, path, len(content), hashlib.sha256(content).hexdigest(), tries)
    return path.read_bytes()


@pytest.mark.parametrize(
    "faults", [[], [CUT], [None, CUT, HANG_UP, CUT, CUT], [500, 503, 429, HANG_UP], [CUT, None, 500, None, HANG_UP]]
)
def test_a_fetched_shard_equals_the_served_one_though_connections_were_cut(
    file_server: WebServer, content: bytes, tmp_path: Path, faults: list[int | str | None]
) -> None:
    file_server.faults.extend(faults)
    assert get(f"{file_server.url}/000000.tar", tmp_path / "got", content) == content
    assert not file_server.faults


def test_a_cut_costs_the_block_it_was_in(file_server: WebServer, content: bytes, tmp_path: Path) -> None:
    file_server.faults.extend([None, CUT])
    get(f"{file_server.url}/000000.tar", tmp_path / "got", content)
    assert [start // store.BLOCK for _, start, _ in file_server.gets] == [0, 1, 1, 2]
    assert all(end - start <= store.BLOCK for _, start, end in file_server.gets)


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
    files: Path, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    with web(files, BucketServer) as file_server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", file_server.url)
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        store._made.cache_clear()
        file_server.faults.extend([None, CUT, None, CUT])
        assert get("gs://corpus/000000.tar", tmp_path / "got", content) == content
        assert not file_server.faults
        with pytest.raises(Missing, match=r"must be there, but 'gs://corpus/000001\.tar' is not"):
            fetch_bytes("gs://corpus/000001.tar", tries=99, most=100)
    store._made.cache_clear()


def test_memory_is_bounded_by_blocks(file_server: WebServer, tmp_path: Path) -> None:
    content = bytes(12 * store.BLOCK)
    file_server.altered["/000000.tar"] = content
    digest = hashlib.sha256(content).hexdigest()
    tracemalloc.start()
    try:
        fetch_file(f"{file_server.url}/000000.tar", tmp_path / "got", len(content), digest, 1)
        # the file_server's own slices are in this process too: one block being sent, one arriving, one being joined
        assert tracemalloc.get_traced_memory()[1] < 5 * store.BLOCK
    finally:
        tracemalloc.stop()


def test_a_server_that_stays_down_is_refused_with_url_cause_and_tries(
    file_server: WebServer, content: bytes, tmp_path: Path
) -> None:
    file_server.every = 503
    with pytest.raises(Refusal, match=r"http://127.*000000.tar' failed 3 times, at last with HTTP status 503: look"):
        get(f"{file_server.url}/000000.tar", tmp_path / "got", content, tries=3)


def test_nobody_listening_is_refused_after_the_tries(content: bytes, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Refusal, match=r"failed 2 times, at last with Connection refused"):
        get(f"http://127.0.0.1:{port}/000000.tar", tmp_path / "got", content, tries=2)


def test_a_size_that_is_not_the_manifests_is_refused_before_anything_is_fetched(
    file_server: WebServer, content: bytes, tmp_path: Path
) -> None:
    with pytest.raises(Refusal, match=f"has {SIZE} bytes instead of {SIZE - 1}"):
        get(f"{file_server.url}/000000.tar", tmp_path / "got", content[:-1])
    assert not file_server.gets


def test_altered_content_is_fetched_once_more_and_then_refused_by_name(
    file_server: WebServer, content: bytes, tmp_path: Path
) -> None:
    file_server.altered["/000000.tar"] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(Refusal, match=r"manifest's sha256 .*'http://127.*/000000\.tar' came twice with another"):
        get(f"{file_server.url}/000000.tar", tmp_path / "got", content)
    assert file_server.starts() == {"/000000.tar": 2}


def test_small_files_come_whole_and_large_ones_are_refused(file_server: WebServer, on_s3: CuttingProxy) -> None:
    file_server.faults.append(SHORT)
    for url in (file_server.url, "s3://corpus/set"):
        assert fetch_bytes(f"{url}/manifest.json", 2, most=2) == b"{}"
        with pytest.raises(Refusal, match=f"at most 1000 bytes, but .* has {SIZE}"):
            fetch_bytes(f"{url}/000000.tar", 1, most=1000)
    assert fetch_bytes(f"{file_server.url}/empty", 1, most=2) == b""


def test_a_full_disk_is_told_and_leaves_nothing(
    file_server: WebServer, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shards.remote.fetch.os.write", full)
    with pytest.raises(OSError, match="No space left"):
        get(f"{file_server.url}/000000.tar", tmp_path / "got", content)


def test_pauses_grow_and_have_a_limit(monkeypatch: pytest.MonkeyPatch, file_server: WebServer) -> None:
    slept: list[float] = []
    monkeypatch.setattr("shards.remote.fetch.time.sleep", slept.append)
    monkeypatch.setattr("shards.remote.fetch.random.uniform", lambda low, high: 1.0)
    file_server.every = 500
    with pytest.raises(Refusal, match="failed 10 times"):
        fetch_bytes(f"{file_server.url}/manifest.json", 10, most=100)
    assert slept == [min(fetch.PAUSE * 2**number, fetch.LONGEST) for number in range(9)]
