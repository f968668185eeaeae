"""Where a shard set lies: a local folder, or a URL of an allow-listed scheme that carries no secret.

Credentials never stand in a location, since locations are printed, tracked and written into files: they come from the
environment or from fsspec's configuration. What breaks the rules is refused before anything is started or tracked, in
a sentence that leaves out whatever may be secret.
"""

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from pydantic import BeforeValidator

from launch.refusal import Refusal
from launch.tracking.redact import MARK, redacted_address

SCHEMES = ("https", "http", "s3", "gs", "file")
REWRITE = "GOPEN_REWRITE"
"""The environment variable by which webdataset would replace one URL by another."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""A word before a colon; one letter is a drive, and `./a:b` is a local name."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://\[[0-9A-Fa-f:.]+\]")
"""The beginning of a URL whose host is an IPv6 address, which may hold `::`."""


def location(value: object) -> str:
    """A location that keeps the rules, as it is told everywhere: a local folder, or a URL without its last slashes.

    `file:` URLs become the local folder they name. Raises Refusal, not the error that pydantic would gather, because
    that one repeats the value it found.
    """
    if not isinstance(value, (str, Path)) or not str(value):
        raise Refusal(f"A location of shards must be a folder or a URL, but it is {_kind(value)}: name one.")
    text = str(value)
    if not text.isprintable():
        raise Refusal("A location of shards must be printable, but it holds a control character: write it anew.")
    scheme = _SCHEME.match(text)
    return text if scheme is None else _url(text, scheme[1].lower())


Location = Annotated[str, BeforeValidator(location)]
"""The type of a setting that says where shards lie: a folder, or a URL (https, http, s3, gs, file); a str or a Path."""


def is_remote(place: str | Path) -> bool:
    """Whether a location has to be fetched; raises Refusal for a URL that breaks the rules."""
    return "://" in location(place)


def join(place: str, name: str) -> str:
    """The location of a file or folder inside another; raises Refusal for a name that would lead out of it."""
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise Refusal(f"A file of a shard set must have a plain name, but {name!r} is none: pack again.")
    if not is_remote(place):
        return str(Path(place) / name)
    return f"{place.rstrip('/')}/{quote(name) if place.startswith('http') else name}"


def redacted(text: str) -> str:
    """A URL without what may be secret in it: anything before an `@`, and all from the first `?` or `#`.

    >>> redacted("https://name:word@host/set?signature=abc")
    'https://***@host/set?***'
    """
    if "://" not in text and (scheme := _SCHEME.match(text)):
        return f"{scheme[1]}:{MARK}"
    return redacted_address(text)


def check_environment() -> None:
    """Raises Refusal while webdataset's rewriting of URLs is asked for: what is read is what the location says."""
    if os.environ.get(REWRITE):
        raise Refusal(
            f"A location of shards must be what is read, but {REWRITE} is set in the environment, which rewrites URLs: "
            f"unset {REWRITE} and name the location you mean."
        )


def _url(text: str, scheme: str) -> str:
    address = _ADDRESS.match(text)
    if "::" in text[address.end() if address else 0 :]:
        raise Refusal(
            f"A location of shards must be one place, but '{scheme}…::…' chains several: name the folder or the URL "
            "itself; fetched shards are cached anyway."
        )
    if scheme not in SCHEMES:
        shell = " would run a shell, which is never done" if scheme == "pipe" else " is none of these"
        raise Refusal(
            f"A URL of shards must begin with {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}, but '{scheme}:…'{shell}: "
            "copy the shards to such a place, or name a folder (one with a colon in its name as './…')."
        )
    if text[len(scheme) : len(scheme) + 3] != "://":
        raise Refusal(
            f"A URL of shards must begin with '{scheme}://', but '{redacted(text)}' does not: write both slashes, and "
            "give a URL as a string (a Path loses one of them)."
        )
    if any(mark in text for mark in "@?#"):
        raise Refusal(
            f"A URL of shards must carry no credentials (no '@', '?' or '#'), but '{redacted(text)}' does: give them "
            "by the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, "
            "~/.netrc) or by fsspec's configuration."
        )
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:  # not repeated: what stands for the port may be a password whose '@' was forgotten
        raise Refusal(f"A URL of shards must name a host and a port, but '{scheme}://…' does not: fix it.") from None
    if scheme == "file":
        return _local(text, host, parts.path)
    if not host:
        raise Refusal(f"A URL of shards must name a host or a bucket, but '{text}' does not: fix it.")
    return f"{scheme}{text[len(scheme) :]}".rstrip("/")


def _local(text: str, host: str | None, path: str) -> str:
    if host not in (None, "localhost") or not path.startswith("/"):
        raise Refusal(f"A file URL must name a folder of this machine (file:///folder), but '{text}' does not: fix it.")
    return unquote(path)


def _kind(value: object) -> str:
    return "empty" if isinstance(value, str) else f"of type {type(value).__name__}"
