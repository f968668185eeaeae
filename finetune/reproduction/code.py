"""Which code made a result: the commit it was, and a digest of its files for where there is no git."""

import os
import subprocess
import time
from pathlib import Path

from launch.digest import sha256_file, sha256_json
from launch.refusal import Refusal

HOME = Path(__file__).parents[2]
ROOMS = ("launch", "shards", "finetune")
"""Whose code a parser's scores depend on."""
ENCODER = ("pretrain/model.py", "pretrain/layers.py")
"""The code of an encoder that is trained along."""
TRIES, PAUSE = 60, 0.5
"""How often, and how many seconds apart, a commit is tried while somebody else commits."""
BUSY = ("index.lock", "cannot lock ref")
"""What git says then."""


def code() -> str:
    """The digest of the files of code that train and score a parser."""
    rooms = (file for room in ROOMS for file in (HOME / room).rglob("*.py"))
    files = sorted([*rooms, *(HOME / file for file in ENCODER)])
    return sha256_json({str(file.relative_to(HOME)): sha256_file(file) for file in files})


def commit() -> str:
    """The commit of this code, with "-dirty" where files of it differ or are new; empty where it is not kept in git."""
    if not _git("ls-files", "--", str(Path(__file__).relative_to(HOME))):
        return ""
    changed = _git("status", "--porcelain", "--", *ROOMS, *ENCODER)
    return _git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")


def is_kept(file: Path) -> bool:
    """Whether git has nothing of this file to commit; Refusal where git does not look after its folder."""
    try:
        return not _asked(file, "status", "--porcelain", "--ignored", "--", file.name)
    except (OSError, subprocess.CalledProcessError) as error:
        raise _refusal(file, error) from None


def keep(file: Path, message: str) -> None:
    """Commits this one file, if it has changed, and nothing else that may be staged or changed.

    Waits while somebody else commits in the same repository. Raises Refusal where git does not take the file.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            if not is_kept(file):
                _asked(file, "add", "--", file.name)
                _asked(file, "commit", "--quiet", "--message", message, "--", file.name)
            return
        except (OSError, subprocess.CalledProcessError) as error:
            if not tries_left or not any(sign in _reason(error) for sign in BUSY):
                raise _refusal(file, error) from None
            time.sleep(PAUSE)


def _asked(file: Path, *words: str) -> str:
    """What git says in the file's folder, in English."""
    place, english = file.absolute().parent, os.environ | {"LC_ALL": "C"}
    return subprocess.run(["git", *words], cwd=place, env=english, check=True, capture_output=True, text=True).stdout


def _reason(error: Exception) -> str:
    return str(getattr(error, "stderr", "") or getattr(error, "stdout", "") or error).strip()


def _refusal(file: Path, error: Exception) -> Refusal:
    reason = _reason(error).splitlines()
    return Refusal(
        f"A result must be committed where --commit is set, but git did not take '{file}' "
        f"({reason[0] if reason else 'without a reason'}): what was finished is in the file; mend it and start again."
    )


def _git(*words: str) -> str:
    """What git says of this project's folder; empty where it has nothing to say."""
    try:
        done = subprocess.run(["git", *words], cwd=HOME, check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
