"""The code that runs is known by the digest of its files, and by its commit where git keeps it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch.source import HOME, ROOMS, source_digest

ASKING = "from launch.source import commit, source_digest; print(source_digest(), commit())"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's code once more, somewhere else."""
    for room in ROOMS:
        shutil.copytree(HOME / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def told(home: Path) -> tuple[str, str]:
    """What the code in a folder says of itself: its digest, its commit."""
    asked = [sys.executable, "-c", ASKING]
    words = subprocess.run(asked, cwd=home, env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True, text=True)
    digest, _, commit = words.stdout.strip().partition(" ")
    return digest, commit


def git(home: Path, *words: str) -> str:
    name = ("-c", "user.name=n", "-c", "user.email=n@host")
    done = subprocess.run(["git", *name, *words], cwd=home, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_same_code_has_the_same_digest_wherever_it_lies_and_other_code_another(copy: Path) -> None:
    assert told(copy) == (source_digest(), "None"), "a copy outside git has no commit"
    (copy / "launch/refusal.py").write_text("class Refusal(Exception): ...\n")
    assert told(copy)[0] != source_digest()


def test_a_commit_is_known_and_dirty_once_the_code_differs_from_it(copy: Path) -> None:
    (copy / ".gitignore").write_text("__pycache__\n")
    for words in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message", "all")):
        git(copy, *words)
    head = git(copy, "rev-parse", "HEAD")
    assert told(copy)[1] == f"Commit(id='{head}', dirty=False)"
    (copy / "notes.txt").write_text("not code")
    assert told(copy)[1] == f"Commit(id='{head}', dirty=False)"
    (copy / "shards/new.py").write_text("")
    assert told(copy)[1] == f"Commit(id='{head}', dirty=True)"
