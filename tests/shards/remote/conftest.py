"""Servers and caches that several tests of remote shards use."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shards.manifest import Manifest, Shard
from shards.remote import store
from shards.remote.cache import HostCache
from shards.schema import Feature
from tests.shards.remote.caches import SHARDS, WINDOW, Make
from tests.shards.servers import CuttingProxy, WebServer, s3, web

SIZE = 9_000_001
"""Bytes of a file of three blocks, the last of them short."""


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


@pytest.fixture
def make(server: WebServer, served: Path, tmp_path: Path) -> Make:
    """Makes caches of the served set in one folder of this host."""

    def one(url: str = f"{server.url}/set", patience: float = 20.0, most: int = WINDOW + 1) -> HostCache:
        return HostCache(url, Manifest.read(served), tmp_path / "cache", most, 3, 2, patience)

    return one


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "000000.tar").write_bytes(np.random.default_rng(0).bytes(SIZE))
    (folder / "manifest.json").write_text("{}")
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture
def file_server(files: Path) -> Iterator[WebServer]:
    with web(files) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(files: Path) -> Iterator[tuple[CuttingProxy, dict[str, str]]]:
    with s3({"set/000000.tar": files / "000000.tar", "set/manifest.json": files / "manifest.json"}) as running:
        yield running


@pytest.fixture
def on_s3(bucket: tuple[CuttingProxy, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttingProxy]:
    for name, value in bucket[1].items():
        monkeypatch.setenv(name, value)
    store._made.cache_clear()
    yield bucket[0]
    store._made.cache_clear()


@pytest.fixture
def content(files: Path) -> bytes:
    return (files / "000000.tar").read_bytes()
