"""Which code made a result: the commit it was, and a digest of its files for where there is no git."""

import subprocess
from pathlib import Path

from launch.digest import sha256_file, sha256_json
from launch.refusal import Refusal

HOME = Path(__file__).parents[2]
ROOMS = ("launch", "shards", "finetune")
"""Whose code a parser's scores depend on."""


def code() -> str:
    """The digest of the files of code that train and score a parser."""
    files = sorted(file for room in ROOMS for file in (HOME / room).rglob("*.py"))
    return sha256_json({str(file.relative_to(HOME)): sha256_file(file) for file in files})


def commit() -> str:
    """The commit of this code, with "-dirty" where files of it differ from it; empty where it is not kept in git."""
    if not _git("ls-files", "--", str(Path(__file__).relative_to(HOME))):
        return ""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *ROOMS)
    return _git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")


def keep(file: Path, message: str) -> None:
    """Commits this one file, and nothing else that may be staged or changed; Refusal where git does not."""
    folder = file.absolute().parent
    try:
        subprocess.run(["git", "add", "--", file.name], cwd=folder, check=True, capture_output=True, text=True)
        words = ["git", "commit", "--quiet", "--message", message, "--", file.name]
        subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or getattr(error, "stdout", "") or str(error)).strip().splitlines()
        raise Refusal(
            f"A result must be committed where --commit is set, but git did not take '{file}' "
            f"({reason[0] if reason else 'without a reason'}): the result is in the file; mend it and start again."
        ) from None


def _git(*words: str) -> str:
    """What git says of this project's folder; empty where it has nothing to say."""
    try:
        done = subprocess.run(["git", *words], cwd=HOME, check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
