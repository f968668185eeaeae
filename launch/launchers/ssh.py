"""Other hosts over ssh: questions with an answer in bounded time, to all hosts at once."""

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from launch.launchers import probe
from launch.launchers.hostfile import Host
from launch.refusal import Refusal

OPTIONS = (
    "-o",
    "BatchMode=yes",
    "-o",
    "ConnectTimeout=5",
    "-o",
    "ServerAliveInterval=2",
    "-o",
    "ServerAliveCountMax=3",
)
"""Never ask for a password; give up on a host that does not answer, or no more."""
ANSWER = 60.0
"""Seconds within which a host answers a question."""
FAILED = 255
"""ssh's own exit code for a connection that failed."""
CLEAR = """
left() { grep -lzxF "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }
for signal in TERM KILL; do
  pids=$(left "$1"); [ -z "$pids" ] && exit 0
  kill -$signal $pids 2>/dev/null
  for second in 1 2 3 4 5; do sleep 1; [ -z "$(left "$1")" ] && exit 0; done
done
exit 1
"""
"""Ends every process that has a variable with a value in its environment: asks it, and five seconds later kills it."""


@dataclass(frozen=True)
class Facts:
    """What a host says of itself."""

    name: str
    """Its own host name."""
    asked_from: str
    """The address of this machine as the host sees it."""
    asked_at: str
    """The host's address at which ssh reached it."""
    port: int
    """The port that was asked for when it is free there, for 0 one that is, -1 when it is taken."""
    address: str
    """That of the interface asked for, empty when there is no such one; `asked_at` when none was asked for."""
    interfaces: list[str]
    cores: int
    gpus: int
    machine: str = ""
    """What no other running host has; empty when it cannot be told."""


def ask(host: Host, command: str, given: str = "", seconds: float = ANSWER) -> "subprocess.CompletedProcess[str]":
    """How a shell command ended on a host that was given something on its stdin; exit code 255 when ssh failed."""
    words = ["ssh", *OPTIONS, host.name, command]
    try:
        return subprocess.run(words, input=given, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, FAILED, "", f"no answer within {seconds:g} s")


def ask_all(hosts: Sequence[Host], command: str, given: str = "") -> "list[subprocess.CompletedProcess[str]]":
    """`ask` of each host, at once."""
    with ThreadPoolExecutor(min(64, len(hosts))) as pool:
        return list(pool.map(lambda host: ask(host, command, given), hosts))


def unreachable(hosts: Sequence[Host]) -> dict[str, str]:
    """Why ssh does not get to a host, by name, for those it does not get to."""
    answers = zip(hosts, ask_all(hosts, "true"), strict=True)
    return {host.name: last_line(answer.stderr) for host, answer in answers if answer.returncode}


def facts_of(hosts: Sequence[Host], folder: Path, port: int, interface: str) -> list[Facts]:
    """What every host says of itself. Raises Refusal for one that does not answer, or has no such folder or python."""
    python = shlex.quote(sys.executable)
    command = f"cd {shlex.quote(str(folder))} && exec {python} - {port} {shlex.quote(interface)}"
    answers = ask_all(hosts, command, Path(probe.__file__).read_text())
    for host, answer in zip(hosts, answers, strict=True):
        if answer.returncode == FAILED:
            raise Refusal(
                f"Every host of a hostfile must answer over ssh without a password, but '{host.name}' does not "
                f"({last_line(answer.stderr)}): try `ssh {host.name} true`, and correct the hostfile, ~/.ssh/config or "
                "the host's authorized_keys."
            )
        if answer.returncode:
            raise Refusal(
                f"Every host must have this project and its python where this machine has them, but on '{host.name}' "
                f"`{command.replace('exec ', '')}` fails ({last_line(answer.stderr)}): install both at the same path."
            )
    return [Facts(**json.loads(answer.stdout.splitlines()[-1])) for answer in answers]


def clear(hosts: Sequence[Host], variable: str) -> list[str]:
    """Ends every process with `NAME=value` in its environment; the names of the hosts where that could not be done."""
    answers = ask_all(hosts, f"sh -s {shlex.quote(variable)}", CLEAR)
    return [host.name for host, answer in zip(hosts, answers, strict=True) if answer.returncode]


def last_line(said: str) -> str:
    """The last line of what a program said, which most often is the reason."""
    lines = said.strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"
