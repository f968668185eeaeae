"""Hosts of a file: the deepspeed launcher starts their ranks over pdsh and ssh."""

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from launch.job import Job
from launch.launchers.hostfile import Host, hosts_of, plain
from launch.launchers.local import common, interface
from launch.launchers.passing import PLAIN, file_of, quoted, secret
from launch.launchers.ssh import Facts, clear, facts_of, unreachable
from launch.progress import say
from launch.ranks.board import served
from launch.ranks.connections import Connections
from launch.ranks.roster import Roster
from launch.refusal import Refusal
from launch.world import port_taken

PASSED_ON = ("NCCL_", "GLOO_", "TORCH_", "CUDA_DEVICE_", "WDS_", "HF_")
"""Beginnings of the variables of this machine that every rank gets, besides deepspeed's own (PYTHON, MLFLOW, UCX)."""
CREDENTIALS = "Let ~/.mlflow/credentials on the first host hold what MLflow needs."
AGAIN = 2.0
"""Seconds between two looks for hosts that do not answer."""


class Hosts:
    """The hosts of `job.hostfile`, reached over ssh from this machine, which may be one of them."""

    def __init__(self, job: Job) -> None:
        """Raises Refusal for a hostfile that is none, a host that does not answer, and a port that is taken."""
        self._job, self._hosts = job, hosts_of(job.hostfile)
        missing = [name for name in ("pdsh", "ssh") if not shutil.which(name)]
        if missing:
            raise Refusal(
                f"A start over several hosts needs pdsh and ssh on this machine, but {' and '.join(missing)} cannot be "
                "found: install them (apt-get install pdsh openssh-client), or start every host by --job.no_ssh."
            )
        if not PLAIN.fullmatch(os.getcwd()):
            raise Refusal(
                "A start over several hosts must be in a folder whose name no shell changes, but this one is "
                f"'{os.getcwd()}': give it a name without spaces and signs."
            )
        self.count = sum(host.slots for host in self._hosts)
        """The ranks that this command starts."""
        self._facts: list[Facts] = []
        self._variable = ""
        self._look()
        self._folder = tempfile.TemporaryDirectory(prefix="hosts-")
        if held := sorted(filter(secret, os.environ)):
            say(f"Not passed on, as every user of a host could read it: {', '.join(held)}. {CREDENTIALS}")

    @property
    def title(self) -> str:
        """What is started."""
        return f"{self.count} processes on {len(self._hosts)} hosts ({', '.join(host.name for host in self._hosts)})"

    def opened(self) -> AbstractContextManager[Roster]:
        """A roster for one start, which all hosts reach."""
        return self._opened()

    def command(self, module: Sequence[str]) -> list[str]:
        """The launcher's command line for a module with its words, and the file of hosts that it reads."""
        file = Path(self._folder.name) / "hosts"
        file.write_text(plain(self._hosts))
        return [
            *(sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", str(file), "--force_multi"),
            *("--master_addr", self._meeting(), "--master_port", str(self._facts[0].port), "--no_ssh_check"),
            *("--no_local_rank", "--log_level", "error", "--module", *map(quoted, module)),
        ]

    def environment(self, roster: Roster, restarts: int) -> dict[str, str]:
        """What the launcher has in its environment; what every rank is to have stands in a file that it reads."""
        cores = min(facts.cores // host.slots for facts, host in zip(self._facts, self._hosts, strict=True))
        chosen = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        chosen |= {"PATH": os.environ.get("PATH", os.defpath)} | interface(self._job)
        chosen |= common(self._job.threads or max(1, cores), restarts)
        if not any(facts.gpus for facts in self._facts):
            chosen["DS_ACCELERATOR"] = "cpu"
        file = Path(self._folder.name) / "environment"
        file.write_text(file_of(chosen, roster.variables))
        return self._launcher_s(str(file))

    def connections(self) -> Connections | None:
        """Those to the hosts."""
        return Connections()

    def ready(self, asked: Callable[[], bool]) -> bool:
        """Whether the ranks can be started again: every host answers, before `job.wait_for_hosts` seconds are over.

        Nothing of an earlier start is left on them then. Returns early when `asked` says so.
        """
        end, said = time.monotonic() + self._job.wait_for_hosts, ""
        while not asked():
            missing = self._missing()
            if not missing:
                return True
            if time.monotonic() > end:
                break
            if missing != said:
                say(f"Waiting, at most {self._job.wait_for_hosts:g} s, for {missing}.")
            said = missing
            time.sleep(AGAIN)
        return False

    def clear(self, roster: Roster) -> None:
        """Ends what a start has left on the hosts that answer; on others it ends by itself, as its command is gone."""
        self._variable = "=".join(*roster.variables.items())
        left = clear(self._hosts, self._variable)
        if left:
            say(f"Could not look for processes that are left on {', '.join(left)}: they end by themselves.")

    def _missing(self) -> str:
        """What keeps the ranks from being started again; empty when nothing does, and nothing is left of the last."""
        silent = unreachable(self._hosts)
        if silent:
            return ", ".join(f"{name} ({why})" for name, why in silent.items())
        if left := clear(self._hosts, self._variable):
            return f"the end of what was left on {', '.join(left)}"
        try:
            self._look()
        except Refusal as refusal:
            return f"an end to this: {refusal}"
        return ""

    def _look(self) -> None:
        self._facts = facts_of(self._hosts, Path.cwd(), self._job.port, self._job.interface)
        check(self._hosts, self._facts, self._job)

    def _meeting(self) -> str:
        """The address of the first host, as the others know it."""
        first = self._facts[0]
        if first.address.startswith("127.") and len(self._hosts) > 1:  # it is this machine, by a name of its own
            return _this_machine(self._facts[1:])
        return first.address

    @contextmanager
    def _opened(self) -> Iterator[Roster]:
        far = [facts for facts in self._facts if not facts.asked_at.startswith("127.")]
        with served(_this_machine(far or self._facts), self.count) as board:
            yield Roster(board)

    def _launcher_s(self, file: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not secret(name)}
        beat = max(5, round(self._job.lost_after / 3))  # the watch is faster; sshd may be slow on a busy host
        alive = f"-o ServerAliveInterval={beat} -o ServerAliveCountMax=3 -o BatchMode=yes -o ConnectTimeout=10"
        added = f"{os.environ.get('PDSH_SSH_ARGS_APPEND', '')} {alive}".strip()
        own = {"DS_ENV_FILE": file, "PDSH_SSH_ARGS_APPEND": added}
        return kept | own | ({} if any(facts.gpus for facts in self._facts) else {"DS_ACCELERATOR": "cpu"})


def check(hosts: Sequence[Host], facts: Sequence[Facts], job: Job) -> None:
    """Raises Refusal for what hosts say of themselves that no ranks can be started with."""
    if facts[0].port < 0:
        raise Refusal(port_taken(job.port, facts[0].name))
    machines = dict[str, str]()
    for host, each in zip(hosts, facts, strict=True):
        if each.machine and (other := machines.setdefault(each.machine, host.name)) != host.name:
            raise Refusal(
                f"A hostfile must name every machine once, but '{other}' and '{host.name}' are both {each.name}: put "
                "all its processes into one line's slots."
            )
        if job.interface and job.interface not in each.interfaces:
            raise Refusal(
                f"The network interface must be one of every host, but '{job.interface}' (job.interface) is none of "
                f"{host.name}'s ({', '.join(each.interfaces)}): name another, or leave it out."
            )
        if bool(each.gpus) != bool(facts[0].gpus):
            raise Refusal(
                f"Either all hosts must have GPUs or none, but '{hosts[0].name}' has {facts[0].gpus} and "
                f"'{host.name}' has {each.gpus}: take one kind out of the hostfile."
            )
        if 0 < each.gpus < host.slots:
            raise Refusal(
                f"Every process must have a GPU of its own, but the hostfile gives '{host.name}' slots={host.slots}, "
                f"and it has {each.gpus}: give it at most as many."
            )


def _this_machine(facts: Sequence[Facts]) -> str:
    """The address of this machine as a host sees it, unless another machine passes the connection on."""
    with suppress(OSError), socket.socket() as trial:
        trial.bind((facts[0].asked_from, 0))
        return facts[0].asked_from
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect((facts[0].asked_at, 9))
        return route.getsockname()[0]
