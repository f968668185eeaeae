"""Passing: how words and variables get through deepspeed's runner, pdsh, ssh and a far shell unchanged."""

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path

PLAIN = re.compile(r"[\w@%+=:,./-]+")
"""What no shell changes."""


def secret(name: str) -> bool:
    """Whether a variable holds a password: deepspeed writes MLflow's into command lines, which all can read."""
    value = os.environ.get(name, "")
    return name.startswith("MLFLOW") and (
        name.endswith(("_PASSWORD", "_TOKEN")) or re.search("://[^/]*@", value) is not None
    )


def quoted(word: str) -> str:
    """A word as it has to be given to deepspeed's runner and pdsh, for the far shell to find the word itself.

    The runner puts words with a space into double quotes, and escapes those inside; pdsh replaces `%n`, `%h`, `%u`.
    """
    return (re.sub(r"([\\$`])", r"\\\1", word) if " " in word else shlex.quote(word)).replace("%", "%%")


def escaped(value: str) -> str:
    """A variable's value as it has to stand in deepspeed's file: it is put into double quotes where it is not plain."""
    return re.sub(r'([\\$`"])', r"\\\1", value).replace("%", "%%")


def users_own() -> str:
    """The lines of the variables' files that deepspeed would read were there none of ours."""
    name, text = os.environ.get("DS_ENV_FILE", ".deepspeed_env"), ""
    for folder in dict.fromkeys((Path.home(), Path.cwd())):
        with suppress(OSError):
            text += (folder / name).read_text().rstrip("\n") + "\n"
    return text
