"""Here: the deepspeed launcher starts every process on this machine, and they keep to 127.0.0.1."""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch

from launch.job import Job
from launch.ranks.connections import Connections
from launch.ranks.roster import Roster, opened
from launch.world import RESTARTS, check_devices


class Local:
    """This machine, on which ranks are started."""

    def __init__(self, job: Job, count: int | None = None) -> None:
        """`count`: of the ranks, `job.processes` where it is None; raises Refusal for more of them than GPUs."""
        self._job = job
        self.count = job.processes if count is None else count
        """The ranks that this command starts."""
        check_devices(self.count)

    @property
    def title(self) -> str:
        """What is started."""
        return f"{self.count} processes"

    def opened(self) -> AbstractContextManager[Roster]:
        """A roster for one start."""
        return opened()

    def command(self, module: Sequence[str]) -> list[str]:
        """The launcher's command line for a module with its words.

        A hostfile that cannot exist keeps a machine's `/job/hostfile` from turning this into a run over ssh;
        `--no_local_rank` keeps the launcher from adding an argument of its own to ours.
        """
        return [
            *(sys.executable, "-m", "deepspeed.launcher.runner"),
            *("--hostfile", os.path.join(os.devnull, "none"), "--log_level", "error"),
            *("--num_gpus", str(self.count), "--master_port", str(self._job.port or _free_port()), "--no_local_rank"),
            *("--module", *module),
        ]

    def environment(self, roster: Roster, restarts: int) -> dict[str, str]:
        """What the launcher, and with it every rank, has in its environment."""
        threads = self._job.threads or max(1, (os.cpu_count() or 1) // self.count)
        chosen = common(threads, restarts) | roster.variables
        if not torch.cuda.is_available():
            chosen |= {"DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
        return os.environ | chosen

    def connections(self) -> Connections | None:
        """Those to other hosts: there are none."""
        return None

    def ready(self, asked: Callable[[], bool]) -> bool:
        """Whether the ranks can be started again."""
        return not asked()

    def clear(self, roster: Roster) -> None:
        """Ends what a start has left elsewhere: nothing."""


def common(threads: int, restarts: int) -> dict[str, str]:
    """What every rank needs in its environment, whatever launcher starts it."""
    quiet = os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR")  # no stack of C++ for a lost rank
    return {"OMP_NUM_THREADS": str(threads), RESTARTS: str(restarts), "TORCH_CPP_LOG_LEVEL": quiet}


def interface(job: Job) -> dict[str, str]:
    """The variables that bind a rank's traffic to the interface asked for."""
    return {f"{library}_SOCKET_IFNAME": job.interface for library in ("GLOO", "NCCL")} if job.interface else {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
