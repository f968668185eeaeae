"""Job: how many processes work on a stage, and how the deepspeed launcher starts them on this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Protocol

import torch
from pydantic import Field

from launch.progress import say
from launch.settings import Settings


class Job(Settings):
    """Processes of one run on this machine."""

    processes: int = Field(1, ge=1, description="processes that train together (one a GPU, or any number on CPU)")
    threads: int = Field(0, ge=0, description="CPU threads a process; 0 shares this machine's cores among them")


class HasJob(Protocol):
    """Settings of a stage that may run as several processes."""

    @property
    def job(self) -> Job: ...


def start(stage: str, arguments: Sequence[str], job: Job) -> int:
    """Runs `python -m launch STAGE …` as `job.processes` ranks under the deepspeed launcher; returns its exit code.

    The ranks read the same arguments, which the caller has validated. Everything listens on 127.0.0.1.
    """
    command = [*launcher(job), "--module", "launch", stage, *arguments]
    say(f"Starting {job.processes} processes: {' '.join(command[command.index('--num_gpus'):])}")
    with subprocess.Popen(command, env=os.environ | environment(job)) as child:
        try:
            return child.wait()
        except (KeyboardInterrupt, SystemExit):
            child.terminate()
            child.wait()
            raise


def launcher(job: Job) -> list[str]:
    """The deepspeed launcher's own words, up to the module it starts."""
    script = "from deepspeed.launcher.runner import main; main()"
    where = ["--master_addr", "127.0.0.1", "--master_port", str(_free_port())]
    return [sys.executable, "-c", script, "--num_gpus", str(job.processes), *where]


def environment(job: Job) -> dict[str, str]:
    """What every rank needs in its environment besides what the launcher sets."""
    threads = job.threads or max(1, (os.cpu_count() or 1) // job.processes)
    chosen = {"OMP_NUM_THREADS": str(threads)}
    if not torch.cuda.is_available():
        chosen |= {"DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
    return chosen


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
