"""Checksums: what ties the files of one stage to those of the next."""

import hashlib
import json
from pathlib import Path


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal; read in blocks, so memory does not grow with the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: object) -> str:
    """The sha256 of a JSON value in its canonical form (sorted keys, no spaces), in hexadecimal."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
