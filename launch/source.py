"""Source: which code runs here: a digest of its files, and the commit where git keeps them."""

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from launch.digest import sha256_file, sha256_json

HOME = Path(__file__).parents[1]
ROOMS = ("launch", "shards", "graph", "pretrain", "finetune")


@dataclass(frozen=True)
class Commit:
    """What git says of this code."""

    id: str
    dirty: bool
    """Whether files of the code differ from the commit, or are new."""


@cache
def source_digest() -> str:
    """The sha256 over all Python files of the five rooms and their paths: equal wherever the same code lies."""
    files = sorted(file for room in ROOMS for file in (HOME / room).rglob("*.py"))
    return sha256_json({str(file.relative_to(HOME)): sha256_file(file) for file in files})


@cache
def commit() -> Commit | None:
    """The commit of this code; None where it is not kept in git, such as in an image or an installed package."""
    if not _git("ls-files", "--", str(Path(__file__).relative_to(HOME))):
        return None
    head = _git("rev-parse", "HEAD")
    return Commit(head, bool(_git("status", "--porcelain", "--", *ROOMS))) if head else None


def _git(*words: str) -> str:
    """What git says of this project's folder; empty where it has nothing to say."""
    try:
        done = subprocess.run(["git", *words], cwd=HOME, check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
