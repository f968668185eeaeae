"""Job: how many processes work on a stage, and how the deepspeed launcher starts them on this machine."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

import torch
from pydantic import Field

from launch.progress import say
from launch.settings import Settings
from launch.world import check_devices

MODULE = "launch"
"""What every rank runs: `python -m launch STAGE …`."""

FATAL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a run from outside: a scheduler, Ctrl-C, a closed terminal."""


class Job(Settings):
    """Processes of one run on this machine."""

    processes: int = Field(1, ge=1, description="processes that train together (one a GPU, or any number on CPU)")
    threads: int = Field(0, ge=0, description="CPU threads a process; 0 shares this machine's cores among them")


def start(stage: str, arguments: Sequence[str], job: Job) -> int:
    """Runs `python -m launch STAGE …` as `job.processes` ranks under the deepspeed launcher; returns its exit code.

    The ranks read the same arguments, which the caller has validated, and keep to 127.0.0.1. The launcher hands no
    signal on, and leaves its ranks behind when it is killed: so they form a session of their own, and an interrupt,
    SIGTERM or SIGHUP that reaches this process is sent to all of it.
    """
    check_devices(job.processes)
    command = [*launcher(job), "--module", MODULE, stage, *arguments]
    say(f"Starting {job.processes} processes of `python -m launch {' '.join([stage, *arguments])}`.")
    child = subprocess.Popen(command, env=os.environ | environment(job), start_new_session=True)
    handlers = {number: signal.signal(number, _passed_to(child)) for number in FATAL}
    try:
        code = child.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


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


def environment(job: Job) -> dict[str, str]:
    """What every rank needs in its environment besides what the launcher sets."""
    threads = job.threads or max(1, (os.cpu_count() or 1) // job.processes)
    chosen = {"OMP_NUM_THREADS": str(threads)}
    if not torch.cuda.is_available():
        chosen |= {"DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
    return chosen


def _passed_to(child: subprocess.Popen[bytes]) -> "signal._HANDLER":
    def pass_on(number: int, frame: object) -> None:
        if child.poll() is None:
            os.killpg(child.pid, number)

    return pass_on


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
