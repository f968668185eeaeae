"""A real MLflow server, for the tests of a module in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.tracking.processes import Server, Work, Worker


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(one_server: Server) -> Server:
    """The server, running, whatever a test before did to it."""
    one_server.start()
    return one_server


@pytest.fixture
def work() -> Iterator[Work]:
    """Starts workers, which end with the test."""
    started = []

    def start(root: Path, *words: str | Path, uri: str = "", env: dict[str, str] | None = None) -> Worker:
        started.append(Worker(root, *words, uri=uri, env=env))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
