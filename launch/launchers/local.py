"""Here: the deepspeed launcher starts every process on this machine, and they keep to 127.0.0.1."""

import os
import socket
import sys

import torch

from launch.job import Job
from launch.ranks.roster import FOLDER, Roster
from launch.world import RESTARTS


def launcher(job: Job) -> list[str]:
    """The deepspeed launcher's own words, up to the module it starts.

    A hostfile that cannot exist keeps a machine's `/job/hostfile` from turning this into a run over ssh;
    `--no_local_rank` keeps the launcher from adding an argument of its own to ours.
    """
    return [
        *(sys.executable, "-m", "deepspeed.launcher.runner"),
        *("--hostfile", os.path.join(os.devnull, "none"), "--log_level", "error"),
        *("--num_gpus", str(job.processes), "--master_port", str(_free_port()), "--no_local_rank"),
    ]


def environment(job: Job, roster: Roster, restarts: int) -> dict[str, str]:
    """What every rank needs in its environment besides what the launcher sets."""
    threads = job.threads or max(1, (os.cpu_count() or 1) // job.processes)
    chosen = {"OMP_NUM_THREADS": str(threads), FOLDER: str(roster.folder), RESTARTS: str(restarts)}
    chosen["TORCH_CPP_LOG_LEVEL"] = os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR")  # no stack of C++ for a lost rank
    if not torch.cuda.is_available():
        chosen |= {"DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
    return chosen


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
