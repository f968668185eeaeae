"""Processes with a run, for the tests of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.tracking.processes import Work, Worker


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
