"""Caches under test: what a reader reads, what a host keeps, and readers in processes of their own."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shards.remote.cache import HostCache
from shards.remote.fetch import PART
from shards.remote.seats import deciding

SHARDS, WINDOW = 9, 3
PATIENT = 3600.0
"""Seconds that no test lasts: what happens all the same does not happen out of patience."""
READER = Path(__file__).with_name("cache_reader.py")
Make = Callable[..., HostCache]


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


def start(task: Callable[..., None], *words: Any) -> threading.Thread:
    """A task in a thread that dies with the test."""
    thread = threading.Thread(target=task, args=words, daemon=True)
    thread.start()
    return thread


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
