"""One of the hosts of a file: the same command is started on each of them by other means, and starts that host's ranks.

python -m launch STAGE … --on hostfile --job.hostfile FILE --job.no_ssh True --job.node_rank K
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from launch.job import Job
from launch.launchers.hostfile import hosts_of, plain
from launch.launchers.local import Local, common, interface
from launch.ranks.roster import Roster
from launch.refusal import Refusal

PORT = 29_500
"""Where ranks meet, since nobody can look for a free port: deepspeed's and torchrun's own."""


class OneOfMany(Local):
    """This machine as one of the hosts of `job.hostfile`; the same command is started on each, without ssh."""

    def __init__(self, job: Job) -> None:
        """Raises Refusal when `job.node_rank` is none of the hostfile's."""
        self._hosts = hosts_of(job.hostfile)
        if job.node_rank is None or job.node_rank >= len(self._hosts):
            raise Refusal(
                f"Without ssh every host must be told which of the hostfile's {len(self._hosts)} it is, but "
                f"--job.node_rank is {job.node_rank}: give 0 to {len(self._hosts) - 1}, in the order of the lines."
            )
        self._own = self._hosts[job.node_rank]
        super().__init__(job, self._own.slots)
        self._folder = tempfile.TemporaryDirectory(prefix="hosts-")

    @property
    def title(self) -> str:
        """What is started."""
        return f"{self.count} processes on {self._own.name}, one of {len(self._hosts)} hosts"

    def command(self, module: Sequence[str]) -> list[str]:
        """The launcher's command line for a module with its words."""
        file = Path(self._folder.name) / "hosts"
        file.write_text(plain(self._hosts))
        return [
            *(sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", str(file), "--no_ssh"),
            *("--node_rank", str(self._job.node_rank), "--master_addr", self._hosts[0].name),
            *("--master_port", str(self._job.port or PORT), "--no_local_rank", "--log_level", "error"),
            *("--module", *module),
        ]

    def environment(self, roster: Roster, restarts: int) -> dict[str, str]:
        """What the launcher, and with it every rank, has in its environment."""
        threads = self._job.threads or max(1, (os.cpu_count() or 1) // self.count)
        chosen = common(threads, restarts) | roster.variables | interface(self._job)
        return os.environ | chosen
