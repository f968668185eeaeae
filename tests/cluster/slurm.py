"""A Slurm of two nodes on the tests' own hosts: munged, slurmctld and two slurmd, with a folder of their own.

Nothing of the machine's own Slurm is read or written, and every daemon ends with the block.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.hosts import PATH, Cluster, Host, signalled

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
"""Programs of Debian's slurm-wlm and munge."""
CONFIGURATION = """
ClusterName=test
SlurmctldHost={first}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=0,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=30
NodeName={nodes} CPUs=1 State=UNKNOWN
PartitionName=common Nodes=ALL Default=YES PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
"""
"""`urgent` takes the nodes from `common`, whose jobs are queued again. Every host counts as one core."""


def why_not() -> str:
    """Why there can be no Slurm here; empty when there can."""
    missing = [name for name in NEEDED if not shutil.which(name, path=PATH)]
    return f"{', '.join(missing)} are not installed (apt-get install slurm-wlm munge)" if missing else ""


@dataclass(frozen=True)
class Slurm:
    """A running Slurm, seen from its first node, where jobs are submitted."""

    node: Host
    folder: Path

    def ask(self, *words: str) -> str:
        """What one of Slurm's commands says; it must succeed."""
        done = self.node.run(words, self.folder, SLURM_CONF=str(self.folder / "slurm.conf"))
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}"
        return done.stdout

    def facts(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        words = self.ask("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", maxsplit=1) for word in words if "=" in word)

    def wait(self, what: str, condition: Callable[[], bool], log: Path | None = None) -> None:
        """Waits until a condition holds, though not for ever."""
        end = time.monotonic() + 240
        while not condition():
            said = log.read_text() if log and log.exists() else ""
            assert time.monotonic() < end, f"within 240 s it did not come to this: {what}. {said}"
            time.sleep(0.1)


@contextmanager
def slurm(cluster: Cluster) -> Iterator[Slurm]:
    """Slurm on the first two hosts of a cluster."""
    folder, nodes = cluster.shared / "slurm", cluster.hosts[:2]
    for name in ("state", "munge", *(f"spool-{node.name}" for node in nodes)):
        (folder / name).mkdir(parents=True)
    (folder / "munge" / "key").write_bytes(os.urandom(1024))
    (folder / "munge" / "key").chmod(0o400)
    names = ",".join(node.name for node in nodes)
    written = CONFIGURATION.format(first=nodes[0].name, folder=folder, nodes=names)
    (folder / "slurm.conf").write_text(written)
    running = Slurm(nodes[0], folder)
    with ExitStack() as daemons:
        daemons.enter_context(_daemon(nodes[0], folder, *_munged(folder / "munge")))
        running.wait("munged has a socket", (folder / "munge" / "socket").exists, folder / "munged.out")
        daemons.enter_context(_daemon(nodes[0], folder, "slurmctld", "-D", "-c"))
        for node in nodes:
            daemons.enter_context(_daemon(node, folder, "slurmd", "-D", "-N", node.name))
        running.wait("two nodes are idle", lambda: _idle(running) == len(nodes), folder / "slurmctld.out")
        yield running
        running.ask("scancel", "--user", "root")
        running.wait("the queue is empty", lambda: not running.ask("squeue", "--noheader"))


def _munged(folder: Path) -> list[str]:
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    return ["munged", "--foreground", "--force", *(f"--{name}={folder / file}" for name, file in files.items())]


def _idle(running: Slurm) -> int:
    done = running.node.run(
        ["sinfo", "--noheader", "--partition", "common", "--states", "idle", "--format", "%D"],
        running.folder,
        SLURM_CONF=str(running.folder / "slurm.conf"),
    )
    return int(done.stdout) if done.stdout.strip().isdecimal() else 0


@contextmanager
def _daemon(host: Host, folder: Path, *words: str) -> Iterator[None]:
    """A daemon while it runs on a host; what it says goes to a file of the folder."""
    command = host.command(words, folder, SLURM_CONF=str(folder / "slurm.conf"))
    with (
        (folder / f"{words[0]}.out").open("ab") as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True) as process,
    ):
        try:
            yield
        finally:
            signalled(process, signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                signalled(process, signal.SIGKILL)
