"""Job: how many processes work on a stage, how the deepspeed launcher starts them on this machine, and how often."""

import itertools
import os
import socket
import sys
from collections.abc import Sequence

import torch
from pydantic import Field

from launch import tracking
from launch.progress import say
from launch.roster import FOLDER, Roster, opened
from launch.settings import Settings
from launch.stage import find
from launch.supervise import REFUSED, Ranks
from launch.world import RESTARTS, check_devices

MODULE = "launch"
"""What every rank runs: `python -m launch STAGE …`."""


class Job(Settings):
    """Processes of one run on this machine."""

    processes: int = Field(1, ge=1, description="processes that train together (one a GPU, or any number on CPU)")
    threads: int = Field(0, ge=0, description="CPU threads a process; 0 shares this machine's cores among them")
    max_restarts: int = Field(
        3, ge=0, description="times that several processes which died are started again, to go on where they were"
    )
    lost_after: float = Field(
        15.0, gt=0, description="seconds without a sign of life after which a process counts as lost, and all end"
    )


def start(stage: str, arguments: Sequence[str], job: Job) -> int:
    """Runs `python -m launch STAGE …` as `job.processes` ranks under the deepspeed launcher; returns their exit code.

    The ranks read the same arguments, which the caller has validated, and keep to 127.0.0.1. When they die, and the
    stage goes on by itself where it was, they are started again; never when they ended, refused, or were asked to stop.
    """
    check_devices(job.processes)
    allowed = job.max_restarts if find(stage).resumes else 0
    command = [*launcher(job), "--module", MODULE, stage, *arguments]
    say(f"Starting {job.processes} processes of `python -m launch {' '.join([stage, *arguments])}`.")
    with Ranks(find(stage).stops) as ranks:
        for restarts in itertools.count(1):
            with opened() as roster:
                end = ranks.run(command, os.environ | environment(job, roster, restarts - 1), roster, job.processes)
                if end.code and (run := roster.run()):
                    tracking.mark(*run, "FAILED" if end.death or end.code == REFUSED else "KILLED")
            if not end.death or restarts > allowed or ranks.asked:
                break
            say(f"{end.death} Starting again from where it was: restart {restarts} of at most {allowed}.")
    if end.death:
        print(f"Failed: {end.death}", file=sys.stderr, flush=True)
    return end.code


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
