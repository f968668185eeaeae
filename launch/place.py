"""Place: which process this is among how many, as the launcher that started it says in the environment.

    deepspeed, torchrun   RANK, WORLD_SIZE, LOCAL_RANK
    mpirun                OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_LOCAL_RANK
    srun                  SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID

A launcher that srun started once on each node leaves both kinds: then the ranks are the launcher's, as long as srun's
tasks can be its nodes. A step of one task, and a shell inside a job, are a world of one, which may start ranks itself.
"""

import os
import subprocess
from dataclasses import dataclass

from launch.refusal import Refusal

STEPS = 0xFFFFFFF0
"""Numbers of steps from here on are Slurm's own: a batch script, a shell of salloc. srun has not started those."""
PORTS = (20_000, 12_000)
"""First of the ports where ranks of a Slurm job meet, and how many: below those that Linux gives to connections."""


@dataclass(frozen=True)
class Source:
    """The variables by which one kind of launcher tells a process its place."""

    launcher: str
    rank: str
    size: str
    local_rank: str

    def found(self) -> dict[str, str]:
        """Those that are set."""
        return {name: os.environ[name] for name in (self.rank, self.size, self.local_rank) if name in os.environ}


DIRECT = Source("deepspeed or torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK")
MPI = Source("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK")
SLURM = Source("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
GROUPS = ("GROUP_WORLD_SIZE", "CROSS_SIZE")
"""How torchrun and deepspeed call the number of nodes that each of them has started ranks on."""


def launched() -> bool:
    """Whether a launcher (deepspeed, torchrun, mpirun, srun) has started this process as one rank of a world."""
    return _source() is not None


def read_place() -> tuple[int, int, int]:
    """Rank, number of ranks, and rank on this host, from the launcher's variables; without them a world of one.

    Raises Refusal when the variables contradict each other.
    """
    source = _source()
    if source is None:
        return 0, 1, 0
    place = _numbers(source)
    if source is not SLURM and (tasks := _tasks()) > 1:
        _check_nodes(source, place, tasks)
    return place


def take_place() -> tuple[int, int, int]:
    """`read_place`, written down as RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT for all that read those.

    Raises Refusal when nobody says where the ranks shall meet.
    """
    rank, size, local_rank = read_place()
    if launched():
        os.environ |= _meeting() | {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(local_rank)}
    return rank, size, local_rank


def port_of(job: int) -> int:
    """The port where the ranks of a Slurm job meet: neighbours in the queue have different ones."""
    return PORTS[0] + job % PORTS[1]


def _source() -> Source | None:
    if {"RANK", "WORLD_SIZE"} & set(os.environ):
        return DIRECT
    if MPI.rank in os.environ:
        return MPI
    return SLURM if _tasks() > 1 else None


def _tasks() -> int:
    """The tasks of the step in which srun started this process, or a process above it; 0 when it did not."""
    step, tasks = os.environ.get("SLURM_STEP_ID", ""), os.environ.get(SLURM.size, "")
    started = step.isdecimal() and int(step) < STEPS and SLURM.rank in os.environ
    return int(tasks) if started and tasks.isdecimal() else 0


def _numbers(source: Source) -> tuple[int, int, int]:
    found = source.found()
    try:
        rank, size, local_rank = int(found[source.rank]), int(found[source.size]), int(found.get(source.local_rank, 0))
    except (KeyError, ValueError):
        rank, size, local_rank = -1, -1, -1
    if not 0 <= rank < size or not 0 <= local_rank < size:
        names = (source.rank, source.size, source.local_rank)
        held = {name: os.environ.get(name) for name in names}
        raise Refusal(
            f"{source.rank} and {source.size} must be numbers with 0 ≤ {source.rank} < {source.size}, and so must "
            f"{source.local_rank} where it is set, but the environment holds {held}: start through "
            "`python -m launch`, deepspeed, torchrun or srun, or unset them for a single process."
        )
    return rank, size, local_rank


def _check_nodes(source: Source, place: tuple[int, int, int], tasks: int) -> None:
    """Refuses ranks that are neither srun's tasks themselves, nor started by a launcher in each of these tasks."""
    rank, size, _ = place
    task = int(os.environ[SLURM.rank])
    groups = next((int(os.environ[name]) for name in GROUPS if os.environ.get(name, "").isdecimal()), None)
    themselves = (rank, size) == (task, tasks)
    per_task = size // tasks
    apart = groups == tasks if groups is not None else size % tasks == 0 and rank // max(1, per_task) == task
    if not themselves and not apart:
        counts = {name: os.environ[name] for name in GROUPS if name in os.environ}
        variables = source.found() | SLURM.found() | counts
        raise Refusal(
            "The ranks of a Slurm step must be srun's tasks, or those of a launcher that srun starts once on each "
            f"node, but the environment holds {variables}: unset {source.rank} and {source.size}, or start one "
            "launcher for the whole step."
        )


def _meeting() -> dict[str, str]:
    """Where the ranks meet: as the environment says, else on the first node of the Slurm step."""
    given = {name: os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT") if os.environ.get(name)}
    if len(given) < 2 and _tasks() > 1:
        port = port_of(int(os.environ["SLURM_JOB_ID"]) + int(os.environ["SLURM_STEP_ID"]))
        given = {"MASTER_ADDR": given.get("MASTER_ADDR") or _first_node(), "MASTER_PORT": str(port)} | given
    if len(given) < 2:
        raise Refusal(
            "Ranks must be told where to meet, but the environment holds "
            f"{given or 'neither MASTER_ADDR nor MASTER_PORT'}: set both to an address and a free port of rank 0's "
            "host, the same for every rank."
        )
    return given


def _first_node() -> str:
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST", "")
    if not nodes.strip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"):  # one node, by its name
        return nodes
    try:
        command = ["scontrol", "show", "hostnames", nodes]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Refusal(
            f"The ranks of a Slurm step must be told where to meet, but `scontrol show hostnames {nodes}` does not "
            f"say which node is the first ({error}): set MASTER_ADDR to its name."
        ) from None
    return shown.split()[0]
