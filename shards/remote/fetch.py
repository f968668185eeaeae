"""Files behind URLs, in blocks that are asked for again where a connection broke.

Every block is a request of its own, so memory is bounded, and a cut connection costs one block.
"""

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from launch.refusal import Refusal
from shards.location import redacted
from shards.remote.store import BLOCK, Denied, Missing, cause, final, reader, size_of

__all__ = ["PART", "Denied", "Missing", "Stopped", "fetch_bytes", "fetch_into"]

PAUSE, LONGEST = 0.1, 10.0
"""Seconds before the second try of a block, doubled before each further one, and their limit."""
PART = ".part"
T = TypeVar("T")


class Stopped(Exception):
    """A fetch was called off by the process that asked for it."""


def fetch_bytes(url: str, tries: int, most: int) -> bytes:
    """The content of a small file, such as a manifest; more than `most` bytes are refused before they are read.

    Raises Missing or Denied at once, and Refusal when a block failed `tries` times.
    """
    size = _size(url, tries)
    if size > most:
        raise Refusal(
            f"A file of this kind has at most {most} bytes, but '{redacted(url)}' has {size}: name a shard set."
        )
    return b"".join(_blocks(url, size, tries))


def fetch_into(
    url: str, descriptor: int, size: int, sha256: str, tries: int, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Writes the file behind a URL into an open file and to the disk; its size is checked first, its sha256 last.

    Content with another sha256 is fetched once more, in case it was altered on its way; then it is refused. Raises
    Missing or Denied at once, Refusal when a block failed `tries` times or the server gives no parts of a file, OSError
    when the disk is full, and Stopped after the block in which `stopped()` became true.
    """
    found = _size(url, tries)
    if found != size:
        raise Refusal(
            f"A shard must have its manifest's size, but '{redacted(url)}' has {found} bytes instead of {size}: "
            "copy the set there again."
        )
    digests: list[str] = []
    while len(digests) < 2:
        digests.append(_pass(url, descriptor, size, tries, stopped))
        if digests[-1] == sha256:
            os.fsync(descriptor)
            return
    raise Refusal(
        f"A shard must have its manifest's sha256 ({sha256[:12]}…), but '{redacted(url)}' came twice with another "
        f"({digests[0][:12]}…, {digests[1][:12]}…): it was altered since; copy the set there again."
    )


def _pass(url: str, descriptor: int, size: int, tries: int, stopped: Callable[[], bool]) -> str:
    """Writes all blocks from the beginning; the sha256 of what was written."""
    digest = hashlib.sha256()
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    for block in _blocks(url, size, tries):
        digest.update(block)
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if stopped():
            raise Stopped
    return digest.hexdigest()


def _blocks(url: str, size: int, tries: int) -> Iterator[bytes]:
    read = _tried(lambda: reader(url, size), url, tries)
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)

        def block(start: int = start, end: int = end) -> bytes:
            found = read(start, end)
            if len(found) != end - start:
                raise ConnectionError
            return found

        yield _tried(block, url, tries)


def _size(url: str, tries: int) -> int:
    size = _tried(lambda: size_of(url), url, tries)
    if size is None:
        raise Refusal(
            f"A server must say how long a file is, but the one of '{redacted(url)}' does not: serve the shards by one "
            "that sends Content-Length, or copy them to a local folder."
        )
    return size


def _tried(step: Callable[[], T], url: str, tries: int) -> T:
    """What a step gives; repeated with growing pauses while it fails in a way that may pass."""
    number = 1
    while True:
        try:
            return step()
        except Refusal:
            raise
        except Exception as error:
            refusal = final(error, url) or _tired(error, url, tries) if number >= tries else final(error, url)
            if refusal:
                raise refusal from None
        # ranks that were cut off together do not come back together
        time.sleep(min(PAUSE * 2 ** (number - 1), LONGEST) * random.uniform(0.5, 1.5))
        number += 1


def _tired(error: Exception, url: str, tries: int) -> Refusal:
    return Refusal(
        f"A file must be readable, but '{redacted(url)}' failed {tries} times, at last with {cause(error)}: look at "
        "the server and the network, or allow more tries."
    )
