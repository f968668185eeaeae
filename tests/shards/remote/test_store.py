"""What stores say, and what is made of it: which errors pass, which are final, and that none repeats a secret."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.refusal import Refusal
from shards.remote import store
from shards.remote.fetch import Denied, Missing, fetch_bytes
from tests.shards.servers import SECRET, CuttingProxy, WebServer, fetch_file


def get(url: str, path: Path, content: bytes, tries: int = 5) -> bytes:
    fetch_file(url, path, len(content), hashlib.sha256(content).hexdigest(), tries)
    return path.read_bytes()


@pytest.mark.parametrize(("status", "kind", "words"), [(404, Missing, "be there"), (403, Denied, "give credentials")])
def test_what_no_further_try_would_change_is_refused_at_once(
    file_server: WebServer, content: bytes, tmp_path: Path, status: int, kind: type[Refusal], words: str
) -> None:
    file_server.every = status
    with pytest.raises(kind, match=words):
        get(f"{file_server.url}/000000.tar", tmp_path / "got", content, tries=99)


def test_a_missing_shard_is_refused_at_once(
    file_server: WebServer, on_s3: CuttingProxy, content: bytes, tmp_path: Path
) -> None:
    for url in (f"{file_server.url}/000001.tar", "s3://corpus/set/000001.tar", "s3://nothing/set/000001.tar"):
        with pytest.raises(Missing, match=r"must be there, but '.*000001\.tar' is not"):
            get(url, tmp_path / "got", content, tries=99)
        with pytest.raises(Missing):
            fetch_bytes(url, tries=99, most=100)


def test_a_server_that_ignores_ranges_is_refused_before_the_file_is_in_memory(
    file_server: WebServer, content: bytes, tmp_path: Path
) -> None:
    file_server.ranges = False
    with pytest.raises(Refusal, match="ignores Range: serve the shards by one that knows range requests"):
        get(f"{file_server.url}/000000.tar", tmp_path / "got", content)


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
    assert store.final(chained, "https://host/set") is None  # fsspec's word for a file_server that cannot be reached
    assert store.cause(chained) == "Connection refused"


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there(*words: object, **settings: object) -> None:
        raise ImportError

    store._made.cache_clear()
    monkeypatch.setattr("fsspec.filesystem", not_there)
    with pytest.raises(Refusal, match="pip install 'gcsfs'"):
        fetch_bytes("gs://bucket/manifest.json", 1, most=100)


def test_a_forked_process_fetches_with_connections_of_its_own(file_server: WebServer) -> None:
    script = (
        "import os, sys\n"
        "from shards.remote.fetch import fetch_bytes\n"
        "assert fetch_bytes(sys.argv[1], 1, 9) == b'{}'\n"
        "child = os.fork()\n"
        "assert fetch_bytes(sys.argv[1], 1, 9) == b'{}'\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"{file_server.url}/manifest.json"], check=False, timeout=60, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr
    assert len(file_server.gets) == 3
