"""The hosts of a file: one a line, with the number of processes each of them runs, as DeepSpeed writes them.

# name     processes
worker-1   slots=8
worker-2   slots=8
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.refusal import Refusal

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Host:
    """A machine that runs processes."""

    name: str
    """What ssh calls it: a name, an address, or an alias of `~/.ssh/config`."""
    slots: int
    """Processes it runs."""


def read_hostfile(path: Path) -> tuple[Host, ...]:
    """The hosts of a file, in its order: the first runs rank 0. `#` begins a comment, tabs are spaces.

    Raises Refusal, with the number of the line, for a line that is no host, zero slots, and a host that comes twice.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(
            f"A hostfile must be a text file, but '{path}' cannot be read ({getattr(error, 'strerror', error)}): name "
            "one with a line `NAME slots=N` for every host (--job.hostfile)."
        ) from None
    found: dict[str, int] = {}
    hosts = []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if words:
            host = _host(words, f"'{path}' line {number}")
            if host.name in found:
                raise Refusal(
                    f"A hostfile must name every host once, but '{path}' line {number} has '{host.name}' again (first "
                    f"in line {found[host.name]}): put all its processes into one line's slots."
                )
            found[host.name] = number
            hosts.append(host)
    if not hosts:
        raise Refusal(
            f"A hostfile must name at least one host, but '{path}' has none: add a line `NAME slots=N` for each."
        )
    return tuple(hosts)


def plain(hosts: Sequence[Host]) -> str:
    """The hosts as a file that deepspeed reads."""
    return "".join(f"{host.name} slots={host.slots}\n" for host in hosts)


def hosts_of(path: Path | None) -> tuple[Host, ...]:
    """The hosts of a job's hostfile; raises Refusal also where it has none."""
    if path is None:
        raise Refusal(
            "A start over several hosts must be given their file, but there is none: add --job.hostfile FILE, with a "
            "line `NAME slots=N` for every host."
        )
    return read_hostfile(path)


def _host(words: list[str], place: str) -> Host:
    name, slots = words[0], words[1] if len(words) == 2 else ""
    if not re.fullmatch(r"slots=[0-9]+", slots):
        raise Refusal(
            f"A hostfile must have lines `NAME slots=N`, but {place} has '{' '.join(words)}': write the host's name "
            "and the number of its processes, and nothing else but a # comment."
        )
    if not _NAME.fullmatch(name):
        raise Refusal(
            f"A hostfile must name hosts by letters, digits, '.', '-' and '_', but {place} has '{name}': write "
            "one line a host, and put a user, a port or an IPv6 address into ~/.ssh/config."
        )
    count = int(slots.removeprefix("slots="))
    if count < 1:
        raise Refusal(
            f"A hostfile must give every host at least one process, but {place} gives '{name}' slots=0: give it more, "
            "or take the line out."
        )
    return Host(name, count)
