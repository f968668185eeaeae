"""Passing: how words and variables get through deepspeed's runner, pdsh, ssh and a far shell unchanged."""

import os
import re
import shlex
from collections.abc import Mapping
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
    """The variables of the files that deepspeed would read were there none of ours, a line each.

    Without blank lines and comments, on which deepspeed fails.
    """
    name, lines = os.environ.get("DS_ENV_FILE", ".deepspeed_env"), list[str]()
    for folder in dict.fromkeys((Path.home(), Path.cwd())):
        with suppress(OSError):
            lines += (folder / name).read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if line.strip() and not line.lstrip().startswith("#"))


def file_of(chosen: Mapping[str, str], fixed: Mapping[str, str]) -> str:
    """The file that deepspeed reads, whose later lines win: the user's own before what is chosen here, `fixed` last."""
    ours, last = ("".join(f"{name}={escaped(value)}\n" for name, value in each.items()) for each in (chosen, fixed))
    return ours + users_own() + last
