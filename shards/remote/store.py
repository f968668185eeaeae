"""What is behind https, http, s3 and gs URLs: sizes, parts of files, and what their errors mean.

The only file that imports fsspec. What libraries say is never repeated: their texts may hold signed addresses. A file
system belongs to the process that made it, since its thread and its connections do not survive a fork.
"""

import os
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from launch.refusal import Refusal
from shards.location import redacted

# read when gcsfs is imported: no gRPC, whose threads survive no fork, and which asks for the kind of each bucket first
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

BLOCK = 4 << 20
"""Bytes of a request."""
QUIET = 60.0
"""Seconds without a byte after which a connection counts as cut."""
EXTRA = {"https": "fsspec[http]", "http": "fsspec[http]", "s3": "s3fs", "gs": "gcsfs"}
_PASSING = {408, 425, 429}
"""Statuses of 400 to 499 that another try may not meet again."""


class Missing(Refusal):
    """There is nothing at a URL."""


class Denied(Refusal):
    """Credentials are lacking for a URL, or they do not suffice; s3 also says so of a missing file."""


def size_of(url: str) -> int | None:
    """Bytes of a file; None when the server does not say."""
    size = _file_system(url).info(url)["size"]
    return None if size is None else int(size)


def reader(url: str, size: int) -> Callable[[int, int], bytes]:
    """A function from start and end to these bytes of a file; one call is one request."""
    system = _file_system(url)
    if size == 0:
        return lambda start, end: b""
    if not url.startswith("http"):
        return lambda start, end: system.cat_file(url, start=start, end=end)
    # unlike its cat_file, this one notices a server that sends all of a large file, before it is in memory
    file = system.open(url, block_size=BLOCK, cache_type="none", size=size)

    def read(start: int, end: int) -> bytes:
        file.seek(start)
        return file.read(end - start)

    return read


def final(error: Exception, url: str) -> Refusal | None:
    """The refusal for an error that another try would only repeat; None for one that may pass."""
    place, chain, status = redacted(url), _chain(error), _status(error)
    names = " ".join(type(each).__name__ for each in chain)
    if status in (401, 403) or (status is None and isinstance(chain[-1], PermissionError)) or "Credential" in names:
        return Denied(
            f"A file must be allowed to be read, but '{place}' is denied ({cause(error)}): give credentials by the "
            "environment or by fsspec's configuration, and check the name, since some stores deny what is missing."
        )
    if status in (404, 410) or (status is None and isinstance(chain[-1], FileNotFoundError)):
        return Missing(f"A file must be there, but '{place}' is not: correct the URL, or copy the set there again.")
    if isinstance(error, ValueError) and "range requests" in str(error):
        return Refusal(
            f"A server must give parts of a file, but the one of '{place}' ignores Range: serve the shards by one that "
            "knows range requests, or copy them to a local folder."
        )
    if status is not None and status < 500 and status not in _PASSING:
        return Refusal(f"A file must be readable, but '{place}' is refused with {cause(error)}: correct the URL.")
    return None


def cause(error: Exception) -> str:
    """An error in words that can hold nothing secret: a status, the system's own text, or the name of its class."""
    chain, status = _chain(error), _status(error)
    number = next((each.errno for each in chain if isinstance(each, OSError) and each.errno), None)
    if status is not None:
        return f"HTTP status {status}"
    if number is not None and number > 0:
        return os.strerror(number)
    return type(chain[-1]).__name__


def _chain(error: BaseException) -> list[BaseException]:
    """An error, what it came from, and so on to the first one."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error of aiohttp, botocore or gcsfs, or one it came from, carries."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        code = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
        gs = (
            getattr(each, "code", None) if type(each).__module__.startswith("gcsfs") else None
        )  # aiohttp's means itself
        for found in (getattr(each, "status", None), code, gs):
            if isinstance(found, int) and 400 <= found < 600:
                return found
    return None


def _file_system(url: str) -> Any:
    with _making:  # fsspec starts a thread at first use
        return _made(url.partition("://")[0], os.getpid())


@lru_cache
def _made(scheme: str, process: int) -> Any:
    try:
        import fsspec

        system = fsspec.filesystem(scheme, skip_instance_cache=True, **_options(scheme))
    except ImportError:
        raise Refusal(
            f"A {scheme} URL needs a package that is not installed: pip install '{EXTRA[scheme]}', or copy the set to "
            "a local folder."
        ) from None
    if scheme == "s3":
        system.retries = 1  # a block is tried again by shards.remote.fetch, and nowhere else
    return system


def _options(scheme: str) -> dict[str, Any]:
    """What a file system is made with: fsspec's configuration, and limits to waiting and trying."""
    from fsspec.config import conf

    if scheme == "s3":
        given = dict(conf.get("s3", {}).get("config_kwargs", {}))
        limits = {"retries": {"max_attempts": 0}, "connect_timeout": QUIET, "read_timeout": QUIET}
        return {"config_kwargs": given | limits, "use_listings_cache": False}
    if scheme == "gs":
        return {"use_listings_cache": False}
    from aiohttp import ClientTimeout

    given = {**conf.get("http", {}), **conf.get("https", {})}
    timeout = ClientTimeout(total=None, sock_connect=QUIET, sock_read=QUIET)
    client = {"trust_env": True, **given.get("client_kwargs", {}), "timeout": timeout}
    return {"client_kwargs": client, "headers": {**given.get("headers", {}), "Accept-Encoding": "identity"}}


_making = threading.Lock()


def _new_process() -> None:
    global _making  # noqa: PLW0603 (a fork may have copied it while it was held)
    _making = threading.Lock()


os.register_at_fork(after_in_child=_new_process)
